"""What `tinyscene bench` shows of the generated C."""

from __future__ import annotations

from collections.abc import Iterator

from ...runtime.bench.rows import BenchContext, BenchRow, measure
from .engine import open_native


def rows(context: BenchContext) -> Iterator[BenchRow]:
    """Latency of the bundle's network as C, quantisation of the input included, on one thread."""
    engine = open_native(context.bundle)
    note = f"{engine.name}: the reference kernels' bits"
    if context.threads > 1:
        note += ", one thread"
    yield measure("native C, int8", lambda: engine.logits(context.log_mel), context.seconds, note)
