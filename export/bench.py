"""What `tinyscene bench` shows of torch: the bundle's network, batch norm folded, in float32."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..runtime.bench.rows import BenchContext, BenchRow, measure
from .formats.tflite_reader import read_tflite
from .quantization.fake_quant import GraphNet, dequantized


def rows(context: BenchContext) -> Iterator[BenchRow]:
    """Latency of the float graph with the bundle's own weights in torch, on `context.threads` threads."""
    path = context.bundle.file("model.tflite")
    net = GraphNet(dequantized(read_tflite(path.read_bytes(), str(path)))).eval()
    log_mel = torch.from_numpy(context.log_mel)[None, None]
    threads = torch.get_num_threads()
    torch.set_num_threads(context.threads)
    try:
        with torch.inference_mode():
            yield measure("torch, float", lambda: net(log_mel), context.seconds, "batch norm folded, eager")
    finally:
        torch.set_num_threads(threads)
