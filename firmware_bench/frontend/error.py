"""How far the C front end is from numpy's, in steps of the network's int8 input, and whether decisions change.

`python -m tinyscene.firmware_bench.frontend.error BUNDLE --data DIR` compiles both arithmetics for this machine and
runs the signals of `signals` and the recordings of DIR through them. "narrow" is fixed point as parts do it that
multiply to 32 bits only.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...runtime.audio import read_mono
from ...runtime.bundle import Bundle, load_bundle
from ...runtime.engines.engine import Engine
from ...runtime.engines.litert import open_engine
from ...runtime.errors import InputError, TinysceneError
from ...runtime.frontend import StreamingLogMel
from ...runtime.int8 import quantize
from ...runtime.output import format_table
from .host import Arithmetic, HostFrontend
from .signals import SIGNALS, to_pcm

#: By name.
ARITHMETICS: Mapping[str, Arithmetic] = {
    "float": Arithmetic(fixed=False),
    "fixed": Arithmetic(fixed=True),
    "fixed, narrow": Arithmetic(fixed=True, narrow=True),
}

_AUDIO = {".wav", ".flac", ".ogg"}

#: Frames between two of the decisions that are compared: half a second.
_HOP_FRAMES = 32


@dataclass(frozen=True)
class FrontendError:
    """One arithmetic against numpy on some signals; errors are in steps of the int8 input."""

    signal: str
    arithmetic: str
    cells: int
    largest_steps: float
    mean_steps: float
    differing_cells: int  # int8 values that are not numpy's
    largest_cell: int  # their largest difference
    decisions: int
    changed_decisions: int

    @property
    def differing_share(self) -> float:
        """Of the int8 values."""
        return self.differing_cells / max(1, self.cells)


def measure(
    bundle: Bundle, signals: Mapping[str, Iterable[NDArray[np.int16]]], engine: Engine | None = None
) -> Iterator[FrontendError]:
    """One result for each arithmetic and each of `signals`, name -> clips of int16 (n,) at the front end's rate.

    Decisions, one every half second, are those of `engine` on the frames of numpy and of C; without it there are none.
    Raises `UnavailableError` without a C compiler.
    """
    spec, scale, zero_point = bundle.frontend, bundle.quantization.input_scale, bundle.quantization.input_zero_point
    with tempfile.TemporaryDirectory() as folder:
        frontends = {
            name: HostFrontend(Path(folder) / name.replace(", ", "_"), spec, scale, zero_point, arithmetic)
            for name, arithmetic in ARITHMETICS.items()
        }
        for signal, clips in signals.items():
            totals = {name: _Total(signal, name) for name in frontends}
            for pcm in clips:
                log_mel = StreamingLogMel(spec).push(pcm.astype(np.float32) / np.float32(32768.0))
                exact = log_mel.astype(np.float64) / np.float32(scale) + zero_point
                cells = quantize(log_mel, scale, zero_point)
                expected = _decisions(engine, cells, spec.n_frames())
                for name, frontend in frontends.items():
                    frontend.reset()
                    found, steps = frontend.push(pcm)
                    decided = _decisions(engine, found, spec.n_frames())
                    totals[name].add(steps - exact, found.astype(np.int64) - cells, decided, expected)
            yield from (total.result() for total in totals.values())


class _Total:
    """Sums over clips."""

    def __init__(self, signal: str, arithmetic: str) -> None:
        self._names = (signal, arithmetic)
        self._largest, self._sum, self._cells, self._differing, self._largest_cell = 0.0, 0.0, 0, 0, 0
        self._decisions, self._changed = 0, 0

    def add(
        self, steps: NDArray[np.float64], cells: NDArray[np.signedinteger], decided: list[int], expected: list[int]
    ) -> None:
        if steps.size:
            error = np.abs(steps)
            self._largest = max(self._largest, float(error.max()))
            self._sum += float(error.sum())
            self._largest_cell = max(self._largest_cell, int(np.abs(cells).max()))
        self._cells += steps.size
        self._differing += int(np.count_nonzero(cells))
        self._decisions += len(expected)
        self._changed += sum(a != b for a, b in zip(decided, expected, strict=True))

    def result(self) -> FrontendError:
        mean = self._sum / max(1, self._cells)
        counts = (self._differing, self._largest_cell, self._decisions, self._changed)
        return FrontendError(*self._names, self._cells, self._largest, mean, *counts)


def _decisions(engine: Engine | None, cells: NDArray[np.int8], n_frames: int) -> list[int]:
    """Classes of the windows of int8 (n_mels, k)."""
    if engine is None:
        return []
    ends = range(n_frames, cells.shape[1] + 1, _HOP_FRAMES)
    return [int(engine.run_int8(cells[None, :, end - n_frames : end, None].copy())[0].argmax()) for end in ends]


def recordings(folder: Path, sample_rate_hz: int, count: int) -> Iterator[NDArray[np.int16]]:
    """`count` recordings spread over those under `folder`, as int16 at the rate; raises `InputError` without any."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _AUDIO)
    if not paths:
        raise InputError(f"no recordings under {folder}, expected .wav, .flac or .ogg files: pass --data DIR")
    for index in np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)):
        yield to_pcm(read_mono(paths[index], sample_rate_hz))


def table(errors: Iterable[FrontendError]) -> str:
    """The results for a person."""
    rows = [
        (
            error.signal,
            error.arithmetic,
            f"{error.largest_steps:.4f}",
            f"{error.mean_steps:.5f}",
            f"{100 * error.differing_share:.3f} %",
            error.largest_cell,
            f"{error.changed_decisions} of {error.decisions}",
        )
        for error in errors
    ]
    headers = ("signal", "arithmetic", "largest error", "mean error", "int8 differ", "by", "decisions changed")
    return format_table(headers, rows)


def main() -> int:
    """The command line of the module."""
    parser = argparse.ArgumentParser(prog="python -m tinyscene.firmware_bench.frontend.error", description=__doc__)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--data", type=Path, metavar="DIR", help="recordings (default: only made-up signals)")
    parser.add_argument("--clips", type=int, default=40, help="most recordings that are taken (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each row")
    arguments = parser.parse_args()
    try:
        bundle = load_bundle(arguments.bundle)
        rate = bundle.frontend.sample_rate_hz
        signals: dict[str, Iterable[NDArray[np.int16]]] = {
            name: [make(2 * rate, rate)] for name, make in SIGNALS.items()
        }
        if arguments.data:
            signals["recordings"] = recordings(arguments.data, rate, arguments.clips)
        errors = list(measure(bundle, signals, open_engine(bundle)))
    except TinysceneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if arguments.json:
        for found in errors:
            print(json.dumps({"schema": "tinyscene.frontend_error/1", **asdict(found)}))
    else:
        print(table(errors))
    return 0


if __name__ == "__main__":
    sys.exit(main())
