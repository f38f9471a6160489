"""The benchmark for a person: what the network costs on each target, and what other tools make of it."""

from __future__ import annotations

from collections.abc import Sequence

from ...runtime.output import format_table
from .baselines import Baseline
from .measure import Cost

#: Functions of a target that a profile shows.
PROFILE = 8


def costs_table(costs: Sequence[Cost]) -> str:
    """One row a target: time on the left, memory on the right."""
    headers = [
        "target", "M instructions", "per MAC", "modelled ms", "K per frame", "differing bytes", "same decisions",
        "RAM", "arena + front end + stack", "flash", "weights + tables + code",
    ]  # fmt: skip
    return format_table(headers, [_row(cost) for cost in costs])


def _row(cost: Cost) -> list[object]:
    heard = cost.listening
    front_end = 0 if heard is None else heard.ram_bytes
    frame = None if heard is None or heard.instructions_per_frame is None else heard.instructions_per_frame / 1e3
    stack = "?" if cost.stack_bytes is None else f"{cost.stack_bytes:,}"
    return [
        cost.target.key,
        None if cost.instructions is None else f"{cost.instructions / 1e6:.2f}",
        None if cost.per_mac is None else f"{cost.per_mac:.2f}",
        None if cost.modelled_ms is None else f"{cost.modelled_ms:.0f}",
        None if frame is None else f"{frame:.0f}",
        f"{cost.parity.differing_bytes} of {cost.parity.inputs} inputs",
        None if heard is None else f"{heard.same_decisions} of {heard.decisions}",
        cost.ram_bytes,
        f"{cost.arena_bytes:,} + {front_end:,} + {stack}",
        cost.flash_bytes,
        f"{cost.weights_bytes:,} + {cost.tables_bytes:,} + {cost.code_bytes:,}",
    ]


def baselines_table(costs: Sequence[Cost], baselines: Sequence[Baseline]) -> str:
    """The other tools, and the ratio of this project's instructions to theirs on the same target in the same run."""
    mine = {cost.target.key: cost for cost in costs}
    rows = []
    for other in baselines:
        cost = mine.get(other.target)
        ratio = None
        if cost is not None and cost.instructions and other.instructions:
            ratio = f"{cost.instructions / other.instructions:.2f}"
        rows.append(
            [
                other.name,
                other.target or "-",
                None if other.instructions is None else f"{other.instructions / 1e6:.1f}",
                ratio,
                other.arena_bytes,
                None if other.estimate_ms is None else f"{other.estimate_ms:.2f}",
                other.note or "-",
            ]
        )
    return format_table(
        ["other tool", "target", "M instructions", "ours / theirs", "arena", "estimated ms", "note"], rows
    )


def profile_table(cost: Cost) -> str:
    """Where the instructions of one inference are spent."""
    total = max(1, cost.instructions or 0)
    ranked = sorted(cost.by_function.items(), key=lambda item: -item[1])[:PROFILE]
    rows = [[name, count, f"{100 * count / total:.1f} %"] for name, count in ranked]
    return format_table([f"function on {cost.target.key}", "instructions", "share"], rows)


def notes(costs: Sequence[Cost], origin: str) -> list[str]:
    """What the figures are."""
    lines = [f"compared with LiteRT's reference kernels: {origin}"]
    for cost in costs:
        clock = "" if cost.target.clock_mhz is None else f", {cost.target.example}"
        lines.append(f"{cost.target.key}: {cost.toolchain}, run by {cost.emulator}{clock}")
    lines.append(
        "instructions are counted exactly; milliseconds are modelled from published instruction timings without wait "
        "states, and not measured on a board"
    )
    return lines
