"""What each part of a network costs when it alone is int8, and what it would give back when it alone were float.

Every form of the network is one run from the first op that differs, on values that were kept: `SensitivityMeter` is
given a batch's float and int8 values and runs what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .noise import decibels
from .twin import FLOAT, INT8, WIDE, Mode, Twin, Values, block_of, layers


@dataclass(frozen=True)
class Effect:
    """How far one form of the network is from float: share of equal answers, and logits' signal to noise.

    The mean over classes is taken off the logits first: it changes no answer. `expected` is the agreement that noise of
    this size would leave on average, were it normal: by how much float prefers its first answer to the second, against
    the spread of the noise in that difference. It moves where the agreement of a hundred clips stands still.
    """

    agreement: float
    expected: float
    logit_db: float


@dataclass(frozen=True)
class LayerSensitivity:
    """One op: `alone` is it in int8 and all else float, `restored` it in float and all else int8.

    `share` is its part of the noise that all ops alone bring to the logits: what they bring adds up, near enough.
    """

    name: str
    kind: str
    share: float
    alone: Effect
    restored: Effect


@dataclass(frozen=True)
class BlockSensitivity:
    """A block's `share` of the noise, and the whole network in int8 with this block in 16 bits (`wide`)."""

    name: str
    share: float
    wide: Effect


@dataclass(frozen=True)
class Widening:
    """The whole network in int8 with these blocks in 16 bits."""

    blocks: tuple[str, ...]
    effect: Effect


class LogitMeter:
    """Gathers how far one form's logits are from the float network's."""

    def __init__(self) -> None:
        self._same = self._count = 0
        self._signal = self._noise = 0.0
        self._margins: list[Tensor] = []
        self._shifts: list[Tensor] = []

    def add(self, exact: Tensor, found: Tensor) -> None:
        """Take in one batch's logits (batch, n_classes) of the float network and of the form."""
        self._same += int((exact.argmax(dim=1) == found.argmax(dim=1)).sum())
        self._count += len(exact)
        exact, found = (logits - logits.mean(dim=1, keepdim=True) for logits in (exact, found))
        self._signal += float(exact.double().square().sum())
        self._noise += float((exact - found).double().square().sum())
        first = exact.topk(2, dim=1).indices
        margins, found_margins = (values.gather(1, first).double() for values in (exact, found))
        self._margins.append(margins[:, 0] - margins[:, 1])
        self._shifts.append(found_margins[:, 0] - found_margins[:, 1] - self._margins[-1])

    @property
    def noise_share(self) -> float:
        """Power of the noise as a share of the signal's."""
        return self._noise / self._signal if self._signal else 0.0

    def result(self) -> Effect:
        """The figures over all batches."""
        spread = torch.cat(self._shifts).square().mean().sqrt().clamp_min(1e-12)
        expected = torch.special.ndtr(torch.cat(self._margins) / spread).mean()
        return Effect(self._same / max(self._count, 1), float(expected), decibels(self._signal, self._noise))


class SensitivityMeter:
    """Every op alone in int8 and alone in float, every block with wide activations."""

    def __init__(self, twin: Twin) -> None:
        self.twin = twin
        graph = twin.graph
        self._ops = layers(graph)
        self._alone = {number: LogitMeter() for number in self._ops}
        self._restored = {number: LogitMeter() for number in self._ops}
        self._blocks: dict[str, list[int]] = {}
        for number, op in enumerate(graph.ops):
            self._blocks.setdefault(block_of(op.name), []).append(number)
        self._wide = {name: LogitMeter() for name in self._blocks}

    def add(self, exact: Values, rounded: Values, local: Values) -> None:
        """Take in one batch: all values in float, all in int8, and each op's int8 result of float inputs."""
        graph = self.twin.graph
        logits = exact[graph.output]
        for number in self._ops:
            op = graph.ops[number]
            values = self.twin.before(exact, number + 1) | {op.output: local[op.output]}
            self._alone[number].add(logits, self.twin.run(values, number + 1, lambda _: FLOAT))
            values = self.twin.before(rounded, number + 1)
            values[op.output] = self.twin.result(op, self.twin.before(rounded, number), weights=False)
            self._restored[number].add(logits, self.twin.run(values, number + 1, lambda _: INT8))
        for name, members in self._blocks.items():
            found = self.twin.run(self.twin.before(rounded, members[0]), members[0], _wide_in(members))
            self._wide[name].add(logits, found)

    def layers(self) -> tuple[LayerSensitivity, ...]:
        """The figures of each op."""
        ops, shares = self.twin.graph.ops, self._shares()
        return tuple(
            LayerSensitivity(ops[n].name, ops[n].kind, shares[n], self._alone[n].result(), self._restored[n].result())
            for n in self._ops
        )

    def blocks(self) -> tuple[BlockSensitivity, ...]:
        """The figures of each block."""
        shares = self._shares()
        return tuple(
            BlockSensitivity(name, sum(shares.get(n, 0.0) for n in self._blocks[name]), meter.result())
            for name, meter in self._wide.items()
        )

    def _shares(self) -> dict[int, float]:
        noise = {number: meter.noise_share for number, meter in self._alone.items()}
        total = sum(noise.values())
        return {number: value / total if total else 0.0 for number, value in noise.items()}


class WideningMeter:
    """The network with more and more blocks in 16 bits, in the order that is given."""

    def __init__(self, twin: Twin, order: Sequence[str]) -> None:
        self.twin = twin
        self._steps = [tuple(order[: count + 1]) for count in range(len(order))]
        self._meters = [LogitMeter() for _ in self._steps]

    def add(self, log_mel: Tensor, logits: Tensor) -> None:
        """Take in one batch of log-mels and the float network's logits of it."""
        start = self.twin.start(log_mel, INT8)
        for blocks, meter in zip(self._steps, self._meters, strict=True):
            members = [number for number, op in enumerate(self.twin.graph.ops) if block_of(op.name) in blocks]
            meter.add(logits, self.twin.run(start, 0, _wide_in(members)))

    def result(self) -> tuple[Widening, ...]:
        """The figures of each step."""
        return tuple(Widening(step, meter.result()) for step, meter in zip(self._steps, self._meters, strict=True))


def _wide_in(members: Sequence[int]) -> Callable[[int], Mode]:
    wide = set(members)
    return lambda number: WIDE if number in wide else INT8
