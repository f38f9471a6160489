"""The firmware's side of the serial protocol: what it answers, and that nothing that is sent to it does harm."""

from __future__ import annotations

import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import stub_model
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_board import LIBRARY, PROTOCOL, InProcessBoard, build_firmware, build_in_process, connect, running

from tinyscene.firmware_bench.boards.link import Link

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_in_process(tmp_path_factory.mktemp("library"))


@pytest.fixture
def board(library: Path) -> InProcessBoard:
    return InProcessBoard(library)


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """The real firmware, compiled with sanitizers, behind a pseudo-terminal."""
    folder = tmp_path_factory.mktemp("firmware")
    with running(build_firmware(folder), folder) as terminal, connect(terminal) as opened:
        yield opened


def said(board: InProcessBoard, text: str | bytes) -> list[str]:
    """What the board answers to `text`, in lines."""
    board.read(1 << 20)
    board.write(text if isinstance(text, bytes) else text.encode())
    answer = board.read(1 << 20).decode("ascii")
    assert answer == "" or answer.endswith("\r\n")
    return answer.split("\r\n")[:-1]


def load(board: InProcessBoard, data: bytes) -> None:
    said(board, f"db load {len(data)}%")
    for start in range(0, len(data), 31):  # as the MLCommons runner sends them
        answer = said(board, f"db {data[start : start + 31].hex()}%")
    assert answer == ["m-load-done", "m-ready"]


def test_a_board_says_that_it_started(board: InProcessBoard) -> None:
    assert board.read(100) == b"m-timestamp-mode-performance\r\nm-init-done\r\nm-ready\r\n"


@pytest.mark.parametrize(
    ("command", "lines"),
    [
        ("name", ["m-name-dut-[tinyscene]"]),
        ("profile", ["m-profile-[tinyscene firmware 1]", "m-model-[stub]"]),
        ("contract", [f"m-contract-[{stub_model.CONTRACT}]"]),
        ("labels", [f"m-labels-[{','.join(stub_model.LABELS)}]"]),
        ("arena", ["m-arena-[1024]"]),
        ("", []),
        ("  name  ", ["m-name-dut-[tinyscene]"]),
        ("na\r\nme", ["m-name-dut-[tinyscene]"]),
        ("Name", ["e-[Unknown command: Name]"]),
        ("names", ["e-[Unknown command: names]"]),
        ("nam", ["e-[Unknown command: nam]"]),
        ("x\x01\xffy z", ["e-[Unknown command: x???y]"]),  # the two bytes of UTF-8, and no control character back
        ("db", ["e-[Command 'db' requires a subcommand]"]),
        ("db load", ["e-[db load needs a number of bytes above 0: ]"]),
        ("db load 0", ["e-[db load needs a number of bytes above 0: 0]"]),
        ("db load -5", ["e-[db load needs a number of bytes above 0: -5]"]),
        ("db load 12x", ["e-[db load needs a number of bytes above 0: 12x]"]),
        ("db load 4294967297", ["e-[db load needs a number of bytes above 0: 4294967297]"]),
        ("db load 16385", ["e-[db load takes at most 16384 bytes]"]),
        ("db load 16384", ["m-[Expecting 16384 bytes]"]),
        ("db 00", ["e-[No db load is running]"]),
        ("db 0", ["e-[Odd number of hex digits]"]),
        ("db 0g", ["e-[Invalid hex digit 'g']"]),
        ("db print 3", ["m-buffer-00-00-00"]),
        ("db print 3 16381", ["m-buffer-00-00-00"]),
        ("db print 4 16381", ["e-[db print N OFFSET must lie within 16384 bytes]"]),
        ("db print 1 16384", ["e-[db print N OFFSET must lie within 16384 bytes]"]),
        ("db print 0", ["e-[db print N OFFSET must lie within 16384 bytes]"]),
        ("infer 0", ["e-[Inference iterations must be 1 to 1000000: 0]"]),
        ("infer 1000001", ["e-[Inference iterations must be 1 to 1000000: 1000001]"]),
        ("infer 1 -1", ["e-[Inference warmup must be 0 to 1000000: -1]"]),
        ("results", ["e-[No inference was run yet: infer]"]),
        ("logits", ["e-[No inference was run yet: infer]"]),
        ("n" * 80, [f"e-[Unknown command: {'n' * 80}]"]),
        ("n" * 81, ["e-[Command longer than 80 characters]"]),
        ("n" * 100_000, ["e-[Command longer than 80 characters]"]),
    ],
)
def test_answers(library: Path, command: str, lines: list[str]) -> None:
    assert said(InProcessBoard(library), f"{command}%") == [*lines, "m-ready"]


def test_help_names_every_command(board: InProcessBoard) -> None:
    text = " ".join(said(board, "help%"))
    for word in (
        "name",
        "profile",
        "timestamp",
        "help",
        "db load N",
        "db HEX",
        "db print",
        "infer",
        "results",
        "check",
    ):
        assert word in text
    assert all(word in text for word in ("logits", "labels", "contract", "input", "arena", "check"))


def test_an_inference_in_the_words_of_the_runner(board: InProcessBoard) -> None:
    plane = stub_model.random_plane(1)
    load(board, plane.tobytes())
    lines = said(board, "infer 3 2%")
    assert lines[:3] == ["m-warmup-start-2", "m-warmup-done", "m-infer-start-3"]
    first, second = (int(line.removeprefix("m-lap-us-")) for line in lines[3:5])
    assert second - first == 3 * 1500  # the board's clock, which wrapped here
    assert lines[5] == "m-infer-done"
    assert lines[7:] == ["m-ready"]
    expected = stub_model.logits(plane).astype(int)
    shares = np.array([float(share) for share in lines[6].removeprefix("m-results-[").removesuffix("]").split(",")])
    exponents = np.exp((expected - expected.max()) * 0.03125)
    np.testing.assert_allclose(shares, exponents / exponents.sum(), atol=1e-6)  # of which 5e-7 are the sixth decimal
    assert said(board, "logits%") == [f"m-logits-[{','.join(map(str, expected))}]", "m-ready"]
    assert said(board, "results%")[0] == lines[6]


def test_timestamps_grow_through_a_wrap(board: InProcessBoard) -> None:
    laps = []
    for _ in range(4):
        laps.append(int(said(board, "timestamp%")[0].removeprefix("m-lap-us-")))
        said(board, "infer 1 0%")
    assert np.diff(laps).tolist() == [1500, 1500, 1500]


def test_what_was_loaded_is_printed_and_summed(board: InProcessBoard) -> None:
    plane = stub_model.random_plane(2).tobytes()
    load(board, plane)
    lines = said(board, "db print 16384%")
    assert len(lines) == 2049
    assert bytes.fromhex("".join(line.removeprefix("m-buffer-").replace("-", "") for line in lines[:-1])) == plane
    assert said(board, "db print 3 8%") == [f"m-buffer-{plane[8:11].hex('-')}", "m-ready"]
    assert said(board, "input%") == [f"m-input-[16384,{zlib.crc32(plane):08x}]", "m-ready"]


def test_a_bad_line_of_a_load_changes_nothing_and_may_come_again(board: InProcessBoard) -> None:
    said(board, "db load 4%")
    assert said(board, "db 01x2%") == ["e-[Invalid hex digit 'x']", "m-ready"]
    assert said(board, "db 010%") == ["e-[Odd number of hex digits]", "m-ready"]
    assert said(board, "infer 1 0%") == ["e-[The load is short of 4 bytes]", "m-ready"]
    assert said(board, "db 0102%") == ["m-ready"]
    assert said(board, "infer 1 0%") == ["e-[The load is short of 2 bytes]", "m-ready"]
    assert said(board, "db 0304ffff%") == ["m-load-done", "m-ready"]
    assert said(board, "db print 6%") == ["m-buffer-01-02-03-04-00-00", "m-ready"]


def test_a_load_of_100_kb_is_survived_in_step(board: InProcessBoard) -> None:
    plane = stub_model.random_plane(3)
    load(board, plane.tobytes())
    assert said(board, "db load 100000%") == ["e-[db load takes at most 16384 bytes]", "m-ready"]
    lines = said(board, b"".join(b"db %s%%" % (b"a5" * 38) for _ in range(100_000 // 38)))
    assert lines == ["e-[No db load is running]", "m-ready"] * (100_000 // 38)
    assert said(board, b"db " + b"a5" * 100_000 + b"%") == ["e-[Command longer than 80 characters]", "m-ready"]
    assert said(board, "input%") == [f"m-input-[16384,{zlib.crc32(plane.tobytes()):08x}]", "m-ready"]


def test_a_reply_is_confirmed_byte_for_byte(board: InProcessBoard) -> None:
    board.read(1000)
    board.write(b"profile%")
    reply = board.read(1000)
    assert said(board, "check%") == [f"m-check-[{zlib.crc32(reply):08x}]", "m-ready"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=120), st.sampled_from([b"db load 9%", b"db 0011%", b"infer 1 0%", b"%"]))))
def test_every_percent_sign_is_answered_once(library: Path, parts: list[bytes]) -> None:
    data = b"".join(parts)
    board = InProcessBoard(library)
    lines = said(board, data)
    assert lines.count("m-ready") == data.count(b"%")
    assert all(line.isprintable() for line in lines)
    # Whatever came, it is in step after the next %.
    assert said(board, "%")[-1] == "m-ready"
    assert said(board, "name%") == ["m-name-dut-[tinyscene]", "m-ready"]


def test_the_firmware_behind_a_terminal(link: Link) -> None:
    plane = stub_model.random_plane(4)
    link.command("db load 16384")
    for start in range(0, 16384, 38):
        link.command(f"db {plane.tobytes()[start : start + 38].hex()}")
    reply = link.command("infer 2 1")
    assert [line.rstrip("0123456789") for line in reply.lines[3:5]] == ["m-lap-us-", "m-lap-us-"]
    assert link.command("logits").lines == (f"m-logits-[{','.join(map(str, stub_model.logits(plane)))}]",)


def test_garbage_and_a_flood_do_not_stop_the_firmware(link: Link) -> None:
    rng = np.random.default_rng(5)
    for _ in range(6):  # no more at once than a terminal holds: this side does not read meanwhile
        garbage = rng.integers(0, 256, 3000, np.uint8).tobytes().replace(b"%", b"")
        link._serial.write(garbage)
        link.synchronize()
    assert link.command("name").lines == ("m-name-dut-[tinyscene]",)


def test_a_load_of_100_kb_over_the_terminal(link: Link) -> None:
    assert link.command("db load 100000").lines == ("e-[db load takes at most 16384 bytes]",)
    for _ in range(-(-100_000 // 38)):
        assert link.command(f"db {'5a' * 38}").lines == ("e-[No db load is running]",)
    assert link.command("name").lines == ("m-name-dut-[tinyscene]",)


def test_energy_mode_shows_no_clock(tmp_path: Path) -> None:
    with running(build_firmware(tmp_path, "-DTS_ENERGY_MODE"), tmp_path) as terminal, connect(terminal) as link:
        assert [line for line in link.command("infer 1 0").lines if "lap" in line] == []
        assert link.command("timestamp").lines == ()


def test_the_parser_under_a_fuzzer(tmp_path: Path) -> None:
    clang = shutil.which("clang-19") or shutil.which("clang")
    if clang is None:
        pytest.skip("no clang: run `apt-get install clang-19 libclang-rt-19-dev`")
    sanitize = ("-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
    sources = [str(HERE / "protocol_fuzzer.c"), *(str(LIBRARY / name) for name in PROTOCOL)]
    command = [clang, "-std=c99", *sanitize, f"-I{LIBRARY}", *sources, "-o", str(tmp_path / "fuzzer")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0 and "clang_rt" in done.stderr:
        pytest.skip("clang has no sanitizers: run `apt-get install libclang-rt-19-dev`")
    assert done.returncode == 0, done.stderr
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for index, text in enumerate(("db load 4%db 01020304%db print 4 0%", "infer 3 1%results%logits%check%", "input%")):
        (corpus / str(index)).write_text(text)
    words = ("name%", "db load ", "db print ", "db ", "infer ", "results%", "logits%", "check%", "help%", "%")
    (tmp_path / "words").write_text("".join(f'"{word}"\n' for word in words))
    run = [
        tmp_path / "fuzzer",
        "-max_len=1024",
        "-max_total_time=5",
        "-seed=1",
        "-rss_limit_mb=0",
        "-malloc_limit_mb=64",
    ]
    done = subprocess.run(
        [*run, f"-dict={tmp_path / 'words'}", corpus],
        capture_output=True, text=True, errors="replace", timeout=120, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
