"""Random networks through the generator, byte for byte as LiteRT's reference kernels."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from generated import HostModel, Reference, adversarial, assert_same
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from planned_graphs import planned_graphs

from tinyscene.export.graph import Graph
from tinyscene.firmware_bench.generator import generate
from tinyscene.firmware_bench.plan.planes import view

_SETTINGS = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    # Each example is a compilation: a failure is shown as found.
    phases=(Phase.explicit, Phase.generate),
)


@given(planned_graphs(), st.sampled_from(["scalar", "word"]))
@_SETTINGS
def test_random_networks_are_bit_exact(graph: Graph, key: str) -> None:
    shape = view(graph, graph.input)
    inputs = [*adversarial(shape, 9)[::4], *np.random.default_rng(0).integers(-128, 128, (2, *shape)).astype(np.int8)]
    with tempfile.TemporaryDirectory() as folder:
        host = HostModel(generate(graph, key), Path(folder), ("-O0",))
        assert_same(host, Reference(graph), inputs)
