"""The plan: order, rings, layout, memory, and the proof that catches a wrong one."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from planned_graphs import planned_graphs

from tinyscene.export.graph import Graph, Quant, Tensor
from tinyscene.export.graph_builder import GraphBuilder
from tinyscene.export.quantization.quantize import quantize
from tinyscene.firmware_bench.families import family
from tinyscene.firmware_bench.plan.layout import floor_bytes
from tinyscene.firmware_bench.plan.planner import Plan, plan_network
from tinyscene.firmware_bench.plan.proof import PlanError, prove
from tinyscene.firmware_bench.plan.schedule import order
from tinyscene.firmware_bench.plan.stages import stages_of
from tinyscene.runtime.errors import InputError

SCALAR = family("scalar")


def check(plan: Plan) -> None:
    prove(plan.stages, plan.steps, plan.lives, plan.place, plan.arena_bytes)


def stem(rows: int, columns: int, kernel: int = 3, count: int = 2) -> Graph:
    """`count` plain SAME convolutions of 4 channels, then class means."""
    builder = GraphBuilder("stem", "in", (1, rows, columns, 4))
    x = "in"
    for index in range(count):
        weight = np.ones((4, kernel, kernel, 4), np.float32)
        x = builder.add("CONV_2D", f"conv.{index}", x, weight=weight, bias=np.zeros(4, np.float32), padding="SAME")
    builder.add("MEAN", "out", x, axes=(1, 2), keep_dims=False)
    graph = builder.build()
    return quantize(graph, {tensor.name: (-1.0, 1.0) for tensor in graph.tensors})


def test_rings_hold_the_rows_of_a_window() -> None:
    plan = plan_network(stem(40, 6), SCALAR)
    by_name = {stage.plane.name: life for stage, life in zip(plan.stages, plan.lives, strict=True)}
    assert [by_name[name].slots for name in ("in", "conv.0", "conv.1", "out")] == [3, 3, 1, 1]
    # Three padded rows of two tensors, a row without padding, the sums and the means of four channels.
    assert plan.arena_bytes == 2 * 3 * 8 * 4 + 6 * 4 + 16 + 4 + 4
    check(plan)


def test_padding_and_its_columns() -> None:
    stages = stages_of(stem(40, 6, kernel=5), SCALAR)
    plane = stages[0].plane
    assert (plane.top, plane.bottom, plane.left, plane.right) == (2, 2, 2, 2)
    assert plane.row_bytes == 40


def test_pads_are_folded_into_their_readers(frozen_graph: Graph) -> None:
    assert any(op.kind == "PAD" for op in frozen_graph.ops)
    assert all(stage.kind != "PAD" for stage in stages_of(frozen_graph, SCALAR))


@given(planned_graphs())
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_row_is_there_after_the_steps_that_it_takes(graph: Graph) -> None:
    for stage in stages_of(graph, SCALAR):
        plane = stage.plane
        for row in range(-plane.top, min(plane.rows, stage.steps - (stage.work - 1 if stage.gathers else 0))):
            made = {r for step in range(stage.steps_until(row)) for r in stage.rows_of(step)}
            assert row in made, (plane.name, row)


def test_every_step_follows_what_it_needs(frozen_graph: Graph) -> None:
    stages = stages_of(frozen_graph, SCALAR)
    steps = order(stages, ())
    done = [0] * len(stages)
    for index in steps:
        stage = stages[index]
        for read in stage.reads:
            rows = (
                range(0)
                if read is None or done[index] >= stage.work
                else read.rows(done[index], stages[read.plane].plane)
            )
            if rows:
                assert done[read.plane] >= stages[read.plane].steps_until(rows[-1])
        done[index] += 1
    assert done[-1] == stages[-1].steps
    assert max(count - stage.steps for count, stage in zip(done, stages, strict=True)) <= 0


def test_fusing_saves_most_of_the_memory(frozen_graph: Graph) -> None:
    plan = plan_network(frozen_graph, SCALAR)
    check(plan)
    assert plan.arena_bytes * 3 < frozen_graph.peak_activation_bytes()
    peak = plan.peak
    assert peak.rings + peak.planes + peak.scratch == plan.least_bytes
    assert peak.gaps == plan.arena_bytes - plan.least_bytes < 0.1 * plan.arena_bytes
    assert max(segment.bytes for segment in plan.segments) == plan.least_bytes
    assert sum(segment.steps for segment in plan.segments) == len(plan.steps)


def test_the_published_network_fits(published_graph: Graph) -> None:
    for key in ("word", "dsp", "mve"):
        plan = plan_network(published_graph, family(key))
        assert plan.arena_bytes <= 28 * 1024  # base 32; 56 KB are allowed
    assert 5e6 < plan.instructions < 300e6


def test_a_second_read_after_a_mean_keeps_the_plane(grn_graph: Graph) -> None:
    plan = plan_network(grn_graph, SCALAR)
    check(plan)
    by_name = {stage.plane.name: (stage, life) for stage, life in zip(plan.stages, plan.lives, strict=True)}
    stage, life = by_name["blocks.0.sum"]
    assert life.slots == stage.plane.rows


def test_the_same_graph_gets_the_same_plan(grn_graph: Graph) -> None:
    one, two = plan_network(grn_graph, SCALAR), plan_network(grn_graph, SCALAR)
    assert (one.steps, one.offsets, one.arena_bytes) == (two.steps, two.offsets, two.arena_bytes)


@given(planned_graphs())
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_random_plans_are_proved(graph: Graph) -> None:
    plan = plan_network(graph, SCALAR)
    check(plan)
    assert plan.least_bytes <= plan.arena_bytes == plan.arena_bytes // 16 * 16
    assert floor_bytes(plan.blocks, len(plan.steps))[0] == plan.least_bytes
    for alternative, next_one in pairwise(plan.alternatives):
        assert alternative.arena_bytes < next_one.arena_bytes
        assert alternative.instructions > next_one.instructions


class TestProof:
    """A plan with a mistake in it has to be found out."""

    @pytest.fixture
    def plan(self, frozen_graph: Graph) -> Plan:
        return plan_network(frozen_graph, SCALAR)

    def test_two_planes_on_one_place(self, plan: Plan) -> None:
        names = [stage.plane.name for stage in plan.stages]
        a, b = names.index("blocks.0.expand"), names.index("stem.1")
        wrong = {**plan.place, (a, "ring"): plan.place[b, "ring"]}
        with pytest.raises(PlanError, match=r"blocks\.0\.expand|stem\.1"):
            prove(plan.stages, plan.steps, plan.lives, wrong, plan.arena_bytes)

    def test_one_word_of_overlap(self, plan: Plan) -> None:
        """Move each ring by one word towards its neighbour below: nearly all of them must then meet something."""
        caught = 0
        for key, offset in plan.place.items():
            wrong = {**plan.place, key: offset - 4}
            try:
                prove(plan.stages, plan.steps, plan.lives, wrong, plan.arena_bytes)
            except PlanError:
                caught += 1
        assert caught > len(plan.place) // 3

    def test_a_ring_with_a_row_too_few(self, plan: Plan) -> None:
        index = [stage.plane.name for stage in plan.stages].index("blocks.0.expand")
        lived = list(plan.lives)
        lived[index] = replace(lived[index], slots=lived[index].slots - 1)
        with pytest.raises(PlanError, match=r"blocks\.0\.expand"):
            prove(plan.stages, plan.steps, lived, plan.place, plan.arena_bytes)

    def test_an_arena_too_small(self, plan: Plan) -> None:
        with pytest.raises(PlanError, match="outside the arena"):
            prove(plan.stages, plan.steps, plan.lives, plan.place, plan.least_bytes - 16)

    def test_steps_in_the_wrong_order(self, plan: Plan) -> None:
        steps = list(plan.steps)
        first = steps.index(2)
        steps[0], steps[first] = steps[first], steps[0]
        with pytest.raises(PlanError):
            prove(plan.stages, steps, plan.lives, plan.place, plan.arena_bytes)

    def test_a_step_that_is_missing(self, plan: Plan) -> None:
        with pytest.raises(PlanError):
            prove(plan.stages, plan.steps[:-1], plan.lives, plan.place, plan.arena_bytes)


def test_ram_limit(grn_graph: Graph) -> None:
    least = plan_network(grn_graph, SCALAR)
    plan = plan_network(grn_graph, SCALAR, ram_limit_bytes=least.arena_bytes)
    assert plan.arena_bytes <= least.arena_bytes
    wide = plan_network(grn_graph, SCALAR, ram_limit_bytes=10 * least.arena_bytes)
    assert wide.instructions <= plan.instructions
    smallest = min(alternative.arena_bytes for alternative in least.alternatives)
    with pytest.raises(InputError, match=f"at least {smallest} bytes, the limit is 100"):
        plan_network(grn_graph, SCALAR, ram_limit_bytes=100)


def test_what_is_refused() -> None:
    graph = stem(8, 4)
    wide = Tensor("conv.0", (1, 8, 4, 4), Quant(0.5, 0, 16))
    tensors = tuple(wide if tensor.name == "conv.0" else tensor for tensor in graph.tensors)
    with pytest.raises(InputError, match=r"conv\.0 is int16.*--int16"):
        plan_network(replace(graph, tensors=tensors), SCALAR)
    floats = tuple(replace(tensor, quant=None) for tensor in graph.tensors)
    with pytest.raises(InputError, match="is float"):
        plan_network(replace(graph, tensors=floats), SCALAR)
    batch = tuple(replace(tensor, shape=(2, *tensor.shape[1:])) for tensor in graph.tensors)
    with pytest.raises(InputError, match="expected batch 1"):
        plan_network(replace(graph, tensors=batch), SCALAR)
    with pytest.raises(InputError, match="no ops"):
        plan_network(replace(graph, ops=()), SCALAR)
