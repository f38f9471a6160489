"""What is found out about a board: whether it computes the reference's bytes, and how long one inference takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import GateError, InputError
from .link import BoardError, Link
from .protocol import Board, Identity

#: Schema of a session's JSON.
SCHEMA = "tinyscene.board/1"

#: The board may take this much longer than its first inference before it counts as gone.
_PATIENCE = 3.0

_MS = 1e-3  # of a microsecond


class EnergyMeter(Protocol):
    """What measures the energy of a stretch of time, such as a Joulescope or a shunt with a logger."""

    name: str

    def start(self) -> None:
        """Begin a measurement."""
        ...

    def stop(self) -> float:
        """End it and return the energy since `start`, joules."""
        ...


@dataclass(frozen=True)
class Parity:
    """Logits of the part against the reference's: counts of inputs and bytes, and the first that differs, or None."""

    inputs: int
    differing_inputs: int
    differing_bytes: int
    distinct_outputs: int  # that the inputs give with the reference: 1 would prove little
    first_difference: str | None

    @property
    def exact(self) -> bool:
        """True when every byte was the reference's."""
        return self.differing_bytes == 0


@dataclass(frozen=True)
class Latency:
    """Milliseconds of single inferences on the board's own clock; p95 is the smallest time that 95 % do not exceed."""

    inferences: int
    warmup: int
    median_ms: float
    p95_ms: float
    least_ms: float
    most_ms: float


@dataclass(frozen=True)
class Energy:
    """Energy of one inference, millijoules, as the mean of `inferences` run in one command."""

    meter: str
    inferences: int
    energy_mj: float


@dataclass(frozen=True)
class Session:
    """All that one session found; `to_dict` gives plain values for JSON."""

    port: str
    baud: int
    board: Identity
    parity: Parity
    latency: Latency | None  # None in energy mode, in which the board shows no times
    energy: Energy | None
    upload_s: float  # of one input, mean

    @property
    def passed(self) -> bool:
        """True when every byte was the reference's."""
        return self.parity.exact

    def to_dict(self) -> dict[str, Any]:
        """The session as JSON's plain values, with its schema."""
        return {"schema": SCHEMA, **asdict(self)}

    def text(self) -> str:
        """The session in lines for a person."""
        board, parity, latency, energy = self.board, self.parity, self.latency, self.energy
        verdict = "the reference's bytes" if parity.exact else f"{parity.differing_bytes} BYTES DIFFER"
        lines = [
            f"board    {board.name}, {board.model}, {board.firmware}, on {self.port} at {self.baud} baud",
            f"parity   {verdict} in the logits of {parity.inputs} inputs ({parity.distinct_outputs} different outputs)",
        ]
        if parity.first_difference is not None:
            lines.append(f"         first: {parity.first_difference}")
        if latency is None:
            lines.append("latency  not shown by a board in energy mode")
        else:
            lines.append(
                f"latency  median {latency.median_ms:.3f} ms, p95 {latency.p95_ms:.3f} ms, "
                f"{latency.least_ms:.3f} to {latency.most_ms:.3f}, of {latency.inferences} after {latency.warmup} "
                "(the board's clock)"
            )
        if energy is not None:
            lines.append(
                f"energy   {energy.energy_mj:.4f} mJ an inference, mean of {energy.inferences} ({energy.meter})"
            )
        lines.append(f"upload   {self.upload_s:.2f} s an input of {board.input_bytes} bytes")
        return "\n".join(lines)


def open_session(link: Link, *, contract: str, labels: tuple[str, ...], input_bytes: int) -> tuple[Board, Identity]:
    """Find the protocol on `link` and check that the board runs this very contract.

    Raises `BoardError` when it does not answer, `InputError` naming the first thing in which its model differs.
    """
    link.synchronize()
    board = Board(link)
    identity = board.identify()
    for what, found, expected in (
        ("front-end contract", identity.contract, contract),
        ("labels", ",".join(identity.labels), ",".join(labels)),
        ("input size in bytes", identity.input_bytes, input_bytes),
    ):
        if found != expected:
            raise InputError(
                f"the board's model and the bundle differ in {what}: the board on {link.name} has {found!r:.80}, the "
                f"bundle {expected!r:.80}: build and flash the firmware of this bundle again"
            )
    return board, identity


def compare(
    board: Board,
    inputs: NDArray[np.int8],
    reference: NDArray[np.int8],
    *,
    timeout_s: float = 60.0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Parity, float]:
    """Run each of `inputs` (k, n_mels, n_frames) on the board and hold its logits against `reference` (k, n_classes).

    `timeout_s` is for one inference; `progress` is told how many of how many are done. Returns the comparison and the
    mean upload time of an input in seconds.
    """
    if len(inputs) != len(reference) or not len(inputs):
        raise InputError(f"{len(inputs)} inputs and {len(reference)} reference outputs, expected as many, at least one")
    differing_inputs = differing_bytes = 0
    first: str | None = None
    upload_s = 0.0
    for index, (plane, expected) in enumerate(zip(inputs, reference, strict=True)):
        start = time.monotonic()
        board.load(plane.tobytes())
        upload_s += time.monotonic() - start
        board.infer(1, 0, timeout_s)
        logits = np.array(board.logits(), np.int64)
        if logits.shape != expected.shape:
            raise BoardError(f"the board gave {logits.size} logits, the reference has {expected.size}")
        wrong = int(np.count_nonzero(logits != expected))
        differing_bytes += wrong
        differing_inputs += wrong > 0
        if wrong and first is None:
            first = f"input {index}: the board gave {logits.tolist()}, the reference {expected.tolist()}"
        if progress is not None:
            progress(index + 1, len(inputs))
    distinct = len(np.unique(reference, axis=0))
    return Parity(len(inputs), differing_inputs, differing_bytes, distinct, first), upload_s / len(inputs)


def time_inferences(board: Board, count: int, warmup: int, timeout_s: float = 60.0) -> Latency | None:
    """Latency of `count` inferences, one command each, after `warmup`; None when the board shows no times."""
    if count < 1 or warmup < 0:
        raise InputError(f"{count} inferences after {warmup}, expected at least 1 after at least 0")
    first = board.infer(1, warmup, timeout_s * (1 + warmup))
    if first.elapsed_us is None:
        return None
    patience_s = 5.0 + _PATIENCE * first.elapsed_host_s
    times = [first.elapsed_us]
    for _ in range(count - 1):
        elapsed_us = board.infer(1, 0, patience_s).elapsed_us
        if elapsed_us is None:
            raise BoardError("the board stopped showing timestamps in the middle of a measurement")
        times.append(elapsed_us)
    ms = np.sort(np.array(times)) * _MS
    p95 = float(ms[int(np.ceil(0.95 * count)) - 1])
    return Latency(count, warmup, float(np.median(ms)), p95, float(ms[0]), float(ms[-1]))


def measure_energy(board: Board, meter: EnergyMeter, count: int, timeout_s: float) -> Energy:
    """Energy of one of `count` inferences run in one command, while `meter` watches; `timeout_s` is for all."""
    meter.start()
    try:
        board.infer(count, 0, timeout_s)
    finally:
        joules = meter.stop()
    if not np.isfinite(joules) or joules <= 0:
        raise GateError(f"the meter {meter.name} gave {joules} J for {count} inferences, expected a number above 0")
    return Energy(meter.name, count, 1e3 * joules / count)
