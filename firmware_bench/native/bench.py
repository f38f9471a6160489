"""Latency of the generated C beside LiteRT's, in one run: `python -m tinyscene.firmware_bench.native.bench BUNDLE`.

The engines take turns, a few inferences each, so that a slow minute of the machine is a slow minute of all; inputs are
int8 and alternate. Ratios are of medians, to LiteRT's default kernels (XNNPACK) with one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...runtime.bench.rows import generated_clip
from ...runtime.bundle import Bundle, load_bundle
from ...runtime.engines.litert import open_engine
from ...runtime.errors import InputError, TinysceneError
from ...runtime.frontend import log_mel
from ...runtime.int8 import quantize
from ...runtime.machine.identity import machine
from ...runtime.output import format_table
from .engine import NativeEngine

BASELINE = "LiteRT default, XNNPACK"
REFERENCE = "LiteRT reference"

#: Inferences of one engine before the next has its turn; the first of them, which finds cold caches, does not count.
_TURN = 8


@dataclass(frozen=True)
class Latency:
    """One engine's inferences: milliseconds, and the median's ratio to the baseline's."""

    name: str
    median_ms: float
    p95_ms: float
    least_ms: float
    ratio: float
    differing: int | None  # bytes unlike the reference kernels'; None where an engine need not equal them
    inferences: int


def compare(bundle: Bundle, rounds: int = 100, log_mels: NDArray[np.float32] | None = None) -> list[Latency]:
    """Latencies of LiteRT's two kinds of kernels and each form of the C that this processor has, baseline first.

    `log_mels` (n, n_mels, n_frames) are the inputs, by default a generated clip and shifts of it. Raises `InputError`
    for no rounds, and what opening the engines raises.
    """
    if rounds < 1:
        raise InputError(f"rounds is {rounds}, expected at least 1: set --rounds")
    default, reference = open_engine(bundle, "default"), open_engine(bundle, "reference")
    c = NativeEngine(bundle.file("model.tflite"), bundle)
    if log_mels is None:
        heard = log_mel(generated_clip(bundle.frontend), bundle.frontend)
        log_mels = np.stack([np.roll(heard, 5 * step, axis=1) + np.float32(0.1 * step) for step in range(_TURN)])
    inputs = [quantize(mel, c.input.scale, c.input.zero_point)[None, :, :, None] for mel in log_mels]
    forms = [form for form in c.native.forms() if c.native.use(form)]
    expected = [reference.run_int8(row) for row in inputs]
    runs: dict[str, Callable[[NDArray[np.int8]], NDArray[np.int8]]] = {BASELINE: default.run_int8}
    runs |= {f"native C, {form}": _form(c, form) for form in forms} | {REFERENCE: reference.run_int8}
    differing: dict[str, int | None] = {
        name: sum(int((run(row) != wanted).sum()) for row, wanted in zip(inputs, expected, strict=True))
        for name, run in runs.items()
    }
    differing[BASELINE] = None
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name, run in runs.items():
            slow = name == REFERENCE
            if slow and number % 10:
                continue
            run(inputs[0])
            for turn in range(1 if slow else _TURN):
                row = inputs[(number + turn) % len(inputs)]
                start = time.perf_counter()
                run(row)
                spent[name].append(1e3 * (time.perf_counter() - start))
    c.native.use(forms[0])
    base = float(np.median(spent[BASELINE]))
    found = []
    for name, times in spent.items():
        median, p95 = (float(value) for value in np.percentile(times, (50, 95)))
        found.append(Latency(name, median, p95, min(times), median / base, differing[name], len(times)))
    return found


def _form(engine: NativeEngine, form: str) -> Callable[[NDArray[np.int8]], NDArray[np.int8]]:
    def run(row: NDArray[np.int8]) -> NDArray[np.int8]:
        engine.native.use(form)
        return engine.run_int8(row)

    return run


def main(words: Sequence[str] | None = None) -> int:
    """Print the table, or JSON lines; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tinyscene.firmware_bench.native.bench", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=100, help="turns of each engine")
    parser.add_argument("--json", action="store_true", help="JSON lines")
    arguments = parser.parse_args(words)
    try:
        found = compare(load_bundle(arguments.bundle), arguments.rounds)
    except TinysceneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    on = machine()
    if arguments.json:
        for row in found:
            print(json.dumps({"schema": "tinyscene.native_bench/1", **asdict(row), "processor": on["processor"]}))
        return 0
    columns = ["engine", "median ms", "p95 ms", "least ms", "ratio", "bytes unlike the reference", "inferences"]
    table = [
        [row.name, row.median_ms, row.p95_ms, row.least_ms, row.ratio, row.differing, row.inferences] for row in found
    ]
    print(format_table(columns, table))
    print(f"\none thread, engines in turn; {on['processor']}, {on['system']}, {on['date']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
