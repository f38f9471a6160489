"""Firmware of every board: it compiles strictly, and the emulated ones answer over their serial port."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import stub_model
from stub_board import stub_files

from tinyscene.firmware_bench.boards.catalogue import BOARDS, board_port
from tinyscene.firmware_bench.boards.emulator import emulated
from tinyscene.firmware_bench.boards.image import board_files, build_image
from tinyscene.firmware_bench.boards.link import open_link
from tinyscene.firmware_bench.boards.session import compare, open_session, time_inferences
from tinyscene.firmware_bench.families import LIBRARY
from tinyscene.firmware_bench.targets.target import target
from tinyscene.firmware_bench.targets.toolchains import choose_toolchain
from tinyscene.runtime.errors import InputError, UnavailableError

EMULATED = [key for key, port in BOARDS.items() if port.is_emulated]
INPUT_HEADER = {"ts_input.h": (LIBRARY / "ts_input.h").read_text()}


@pytest.mark.parametrize("key", EMULATED)
def test_an_emulated_board_is_a_board(key: str, tmp_path: Path) -> None:
    port = BOARDS[key]
    planes = stub_model.random_plane(1)[None]
    reference = np.stack([stub_model.logits(plane) for plane in planes])
    try:
        firmware = build_image(port, {**stub_files(), **INPUT_HEADER}, tmp_path / "firmware.elf")
        with emulated(port, firmware) as name, open_link(name) as link:
            board, identity = open_session(
                link, contract=stub_model.CONTRACT, labels=stub_model.LABELS, input_bytes=16384
            )
            parity, _ = compare(board, planes, reference)
            start = time.monotonic()
            before = int(link.command("timestamp").lines[0].removeprefix("m-lap-us-"))
            latency = time_inferences(board, 3, 1)
            after = int(link.command("timestamp").lines[0].removeprefix("m-lap-us-"))
            elapsed_us = 1e6 * (time.monotonic() - start)
    except UnavailableError as error:
        pytest.skip(str(error))
    assert identity.model == "stub"
    assert (parity.inputs, parity.differing_bytes) == (1, 0)
    assert latency is not None
    assert 0 < latency.median_ms <= latency.most_ms < 1e-3 * (after - before)
    assert after - before <= 1.05 * elapsed_us + 1000  # the emulator's clock is this machine's, however long it waits


@pytest.mark.parametrize("key", list(BOARDS))
@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_every_port_compiles_without_a_warning(key: str, toolchain: str, tmp_path: Path) -> None:
    port = BOARDS[key]
    try:
        chosen = choose_toolchain(target(port.target), toolchain)
    except UnavailableError as error:
        pytest.skip(str(error))
    if toolchain == "gcc" and port.target == "cortex-m55":
        pytest.skip("the same port as that of the other MPS boards")
    firmware = build_image(port, {**stub_files(), **INPUT_HEADER}, tmp_path / "x.elf", toolchain=chosen)
    assert firmware.symbol("main").address > 0
    if port.memory is not None:
        assert port.memory.code <= firmware.symbol("main").address < port.memory.code + port.memory.code_bytes


def test_energy_mode_is_a_define_away(tmp_path: Path) -> None:
    port = BOARDS["mps2-an386"]
    files = {**stub_files(), **INPUT_HEADER}
    try:
        firmware = build_image(port, files, tmp_path / "x.elf", defines=("TS_ENERGY_MODE",))
        with emulated(port, firmware) as name, open_link(name) as link:
            link.synchronize()
            lines = link.command("infer 2 0").lines
    except UnavailableError as error:
        pytest.skip(str(error))
    assert lines[:4] == ("m-warmup-start-0", "m-warmup-done", "m-infer-start-2", "m-infer-done")


def test_templates_say_that_they_never_ran() -> None:
    for key, port in BOARDS.items():
        text = board_files(port)["board.c"]
        assert isinstance(text, str)
        assert ("NOT RUN ON HARDWARE" in text) == (port.folder != "virt_rv32"), key
        assert (port.run_on == "nothing") == (not port.is_emulated)


def test_an_unknown_board_and_one_without_an_emulator(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one of mps2-an386"):
        board_port("esp8266")
    port = BOARDS["nrf52840-dk"]
    firmware = build_image(port, {**stub_files(), **INPUT_HEADER}, tmp_path / "x.elf")
    with pytest.raises(InputError, match="connect the board"), emulated(port, firmware):
        pass
