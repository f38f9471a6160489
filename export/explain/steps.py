"""What a waterfall holds: one step for each form of a network, as plain JSON and as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ...runtime.errors import GateError, InputError
from ...runtime.output import format_table, plain

SCHEMA = "tinyscene.waterfall/1"


@dataclass(frozen=True)
class Step:
    """One form of the network on the snippets of known scenes; None where nothing can be compared.

    `drop` is the accuracy of the form `before` (a name) minus this one's, `interval` and `drop_interval` are 95 %
    limits. `agreement` is the share of all snippets answered as the `reference` of the waterfall answers them,
    `agreement_before` as the form before.
    """

    key: str
    name: str
    before: str | None
    accuracy: float | None
    interval: tuple[float, float] | None
    agreement: float | None
    agreement_before: float | None
    drop: float | None
    drop_interval: tuple[float, float] | None
    macro: float | None
    clip_accuracy: float | None
    per_scene: Mapping[str, float]
    per_device: Mapping[str, float]


@dataclass(frozen=True)
class Waterfall:
    """All forms on the same `snippets`, of which `scored` are of the `scenes` that every form knows.

    `reference` names the float network that agreement is counted with, `int8` the form that stands for the device.
    `missing` says for each row that is not there how to have it. `confusion` holds the matrices of reference and int8
    (rows true, columns predicted, in the order of `labels`), `largest` the name of the form with the largest drop.
    """

    data: str
    fold: int
    snippets: int
    scored: int
    recordings: int
    labels: tuple[str, ...]
    scenes: tuple[str, ...]
    reference: str
    int8: str
    rows: tuple[Step, ...]
    largest: str | None
    loss: float | None  # accuracy of the reference minus that of int8
    loss_interval: tuple[float, float] | None
    confusion: Mapping[str, list[list[int]]]
    missing: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The waterfall as plain JSON values, with its schema."""
        values: dict[str, Any] = plain(asdict(self))
        return {"schema": SCHEMA, **values}

    def table(self) -> str:
        """The waterfall for a person."""
        rows = [
            [
                row.name,
                row.accuracy,
                _limits(row.interval),
                None if row.drop is None else f"{row.drop:+.3f}",
                _limits(row.drop_interval, "+"),
                row.agreement,
                row.agreement_before,
            ]
            for row in self.rows
        ]
        headers = ["network", "accuracy", "95 %", "lost", "95 %", "agrees with float", "with the step before"]
        return "\n".join([format_table(headers, rows), *self._lines()])

    def detail(self) -> str:
        """Accuracy by scene and by device, for a person; empty when nothing could be scored."""
        tables = []
        for title, key in (("scene", "per_scene"), ("device", "per_device")):
            names = sorted({name for row in self.rows for name in getattr(row, key)})
            if not names or (key == "per_device" and len(names) < 2):
                continue
            shown = [row for row in self.rows if row.accuracy is not None]
            rows = [[name, *(getattr(row, key).get(name) for row in shown)] for name in names]
            tables.append(format_table([title, *(row.name for row in shown)], rows))
        return "\n\n".join(tables)

    def check_drop(self, limit: float) -> None:
        """Raise `GateError` when int8 loses more than `limit` of accuracy (a fraction) against the float reference,
        `InputError` when nothing could be scored."""
        if self.loss is None:
            raise InputError(f"no snippet of {self.data} has a scene that the network knows: --max-drop needs labels")
        if self.loss > limit + 1e-12:
            raise GateError(
                f"int8 loses {self.loss:.4f} of accuracy against {self.reference}, {_limits(self.loss_interval, '+')}, "
                f"more than --max-drop {limit:g}; the largest drop is at {self.largest}: "
                "see `tinyscene explain BUNDLE --data DIR`"
            )

    def _lines(self) -> list[str]:
        counted = f"{self.data}, fold {self.fold}: {self.snippets:,} snippets of {self.recordings:,} recordings"
        if self.scored < self.snippets:
            scenes = f" ({', '.join(self.scenes)})" if 0 < len(self.scenes) <= 6 else ""
            counted += f", accuracy on the {self.scored:,} whose scene every network knows{scenes}"
        lines = [f"{counted}; agreement with {self.reference}"]
        if self.loss is not None:
            limits = _limits(self.loss_interval, "+")
            lines.append(f"float to int8 ({self.int8}): {self.loss:+.4f} {limits}, counted as a loss where positive")
        worst = next((row for row in self.rows if row.name == self.largest), None)
        if worst is not None and worst.drop is not None:
            within = worst.drop_interval is not None and worst.drop_interval[0] <= 0
            chance = ", within chance" if within else ""
            lines.append(f"largest drop: {worst.before} -> {worst.name}, {worst.drop:+.4f}{chance}")
        return lines + [f"not here: {name} ({why})" for name, why in self.missing.items()]


def _limits(limits: tuple[float, float] | None, sign: str = "") -> str | None:
    return None if limits is None else f"[{limits[0]:{sign}.3f}, {limits[1]:{sign}.3f}]"
