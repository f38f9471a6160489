"""The firmware of a board: the model, the serial protocol and the board's port, compiled and linked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..families import LIBRARY
from ..targets.build import Firmware, build
from ..targets.target import target
from ..targets.toolchains import Toolchain
from .catalogue import BoardPort

#: What every firmware has beside the model and a port.
PROTOCOL = (
    "main.c", "ts_board.h", "ts_firmware.c", "ts_firmware.h", "ts_protocol.c", "ts_protocol.h", "ts_reply.c",
    "ts_reply.h", "ts_words.h",
)  # fmt: skip


def protocol_files() -> dict[str, str | bytes]:
    """`PROTOCOL` by name."""
    return {name: (LIBRARY / name).read_text() for name in PROTOCOL}


def board_files(port: BoardPort | str) -> dict[str, str | bytes]:
    """The files of a board's port; "host" is this machine's, which QEMU and `BOARDS` have no part in."""
    folder = port if isinstance(port, str) else port.folder
    files: dict[str, str | bytes] = {"board.c": (LIBRARY / "ports" / folder / "board.c").read_text()}
    if folder != "host":
        files["ts_registers.h"] = (LIBRARY / "ports" / "ts_registers.h").read_text()
    return files


def build_image(
    port: BoardPort,
    model: Mapping[str, str | bytes],
    out: Path,
    *,
    toolchain: Toolchain | None = None,
    defines: Sequence[str] = (),
) -> Firmware:
    """Compile `model`, files that `generate` made for the family of the board's target, into firmware for `port`.

    `defines` may have TS_ENERGY_MODE (timestamps by the pin) and TS_BOARD_BAUD. Raises what `build` does.
    """
    part = target(port.target)
    if port.memory is not None:
        part = replace(part, memory=port.memory)
    files = {**model, **protocol_files(), **board_files(port)}
    return build(part, files, out, toolchain=toolchain, defines=("TS_MAIN", *port.defines, *defines))
