"""The graph: shapes, rules, costs, and telling two graphs apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from networks import lively
from random_graphs import float_graphs, int8_graphs, with_op

from tinyscene.export.graph import Graph, Quant
from tinyscene.export.graph_builder import GraphBuilder
from tinyscene.export.lower import lower
from tinyscene.export.quantization.quantize import quantize
from tinyscene.runtime.errors import InputError
from tinyscene.training.models.cp_mobile import CPMobile


def tiny() -> Graph:
    builder = GraphBuilder("tiny", "in", (1, 4, 4, 1))
    weight, bias = np.ones((2, 3, 3, 1), np.float32), np.array([1, -1], np.float32)
    x = builder.add("CONV_2D", "conv", "in", weight=weight, bias=bias, padding="SAME", relu=True)
    builder.add("MEAN", "out", x, axes=(1, 2), keep_dims=False)
    return builder.build()


def tiny_int8() -> Graph:
    return quantize(tiny(), {"in": (-1.0, 1.0), "conv": (0.0, 6.0), "out": (0.0, 3.0)})


def with_tensor(graph: Graph, name: str, **changes: object) -> Graph:
    tensors = tuple(replace(t, **changes) if t.name == name else t for t in graph.tensors)  # type: ignore[arg-type]
    return Graph(graph.name, tensors, graph.ops, graph.input, graph.output)


@given(float_graphs())
def test_a_graph_equals_itself_and_has_no_quantisation(graph: Graph) -> None:
    assert graph.differences(graph) == []
    assert not graph.is_int8
    with pytest.raises(InputError, match="is float: quantise it first"):
        _ = graph.input_quant


@given(int8_graphs())
def test_one_changed_bit_is_a_difference(graph: Graph) -> None:
    index = next(i for i, op in enumerate(graph.ops) if op.weight is not None)
    weight = graph.ops[index].weight
    assert weight is not None
    changed = weight.copy()
    changed.flat[0] ^= 1
    assert graph.differences(with_op(graph, index, weight=changed)) == [
        f"op {graph.ops[index].name}: weight differs (1 elements)"
    ]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda g: with_tensor(g, "conv", shape=(1, 4, 4, 3)), "recorded"),
        (lambda g: with_tensor(g, "conv", quant=None), "mixes float and int8"),
        (lambda g: with_tensor(g, "conv", quant=Quant(0.1, 0)), "impossible quantisation"),  # 0.1 is no float32
        (lambda g: with_tensor(g, "conv", quant=Quant(0.5, 128)), "impossible quantisation"),
        (lambda g: with_op(g, 0, weight=np.full((2, 3, 3, 1), -128, np.int8)), "-127..127"),
        (lambda g: with_op(g, 0, bias=np.zeros(2, np.int8)), "expected int32"),
        (lambda g: with_op(g, 0, weight_scales=None), "need scales"),
        (lambda g: with_op(g, 0, weight_scales=np.zeros(2, np.float32)), "not positive"),
        (lambda g: with_op(g, 0, weight=np.zeros((2, 3, 3, 5), np.int8)), "does not fit 1 input channels"),
        (lambda g: with_op(g, 0, kind="EXP"), "unknown or out of order"),
        (lambda g: with_op(g, 1, inputs=("nowhere",)), "out of order"),
        (lambda g: Graph(g.name, g.tensors, g.ops[::-1], g.input, g.output), "out of order"),
        (lambda g: Graph(g.name, g.tensors, g.ops[:1], g.input, g.output), "never written"),
        (lambda g: Graph(g.name, (*g.tensors, g.tensors[0]), g.ops, g.input, g.output), "repeat"),
    ],
)
def test_broken_rules_are_named(broken: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        broken(tiny_int8()).validate()  # type: ignore[operator]


def test_pad_keeps_its_inputs_quantisation_and_rsqrt_reads_nothing_negative() -> None:
    builder = GraphBuilder("g", "in", (1, 4, 4, 1))
    x = builder.add("PAD", "pad", "in", pads=((1, 0), (0, 0)))
    mean = builder.add("MEAN", "mean", x, axes=(1, 2))
    builder.add("RSQRT", "out", mean)
    graph = builder.build()
    good = quantize(graph, {"in": (0.0, 1.0), "mean": (0.0, 1.0), "out": (0.0, 9.0)})
    assert good.tensor["pad"].quant == good.tensor["in"].quant
    with pytest.raises(InputError, match="must keep its input's quantisation"):
        with_tensor(good, "pad", quant=Quant(0.5, 0)).validate()
    with pytest.raises(InputError, match="RSQRT reads values below zero"):
        quantize(graph, {"in": (0.0, 1.0), "mean": (-1.0, 1.0), "out": (0.0, 9.0)})


def test_costs_of_the_published_student_are_the_known_ones() -> None:
    graph = lower(CPMobile(norm="none", padding="symmetric").eval(), 256, 64)
    costs = graph.costs()
    assert sum(cost.parameters for cost in costs) == 124_850
    assert round(sum(cost.macs for cost in costs) / 1e6, 2) == 28.89
    biases = sum(op.bias.size for op in graph.ops if op.bias is not None)
    assert sum(cost.weight_bytes for cost in costs) == 124_850 + 3 * biases
    assert len(graph.ops) == 32
    same = lower(CPMobile(norm="none", padding="same").eval(), 256, 64)
    assert len(same.ops) == 27
    assert [cost.macs for cost in same.costs()] == [cost.macs for cost in costs]


def test_peak_of_a_chain_is_its_largest_neighbours() -> None:
    # 16 in, 32 out, then 32 in, 2 out; nothing else is alive.
    assert tiny().peak_activation_bytes() == 16 + 32


def test_peak_counts_what_a_shortcut_keeps_alive() -> None:
    builder = GraphBuilder("g", "in", (1, 4, 4, 2))
    weight, bias = np.ones((8, 1, 1, 2), np.float32), np.zeros(8, np.float32)
    wide = builder.add("CONV_2D", "wide", "in", weight=weight, bias=bias)
    back = np.ones((2, 1, 1, 8), np.float32)
    narrow = builder.add("CONV_2D", "narrow", wide, weight=back, bias=np.zeros(2, np.float32))
    builder.add("ADD", "out", narrow, "in")
    # While "narrow" is made: the input (32) that the sum still needs, the wide one (128) and the result (32).
    assert builder.build().peak_activation_bytes() == 32 + 128 + 32


def test_lowered_names_follow_the_network() -> None:
    names = [op.name for op in lower(lively("grn"), 64, 32).ops]
    assert names[0] == "stem.0.pad"
    assert "blocks.5.norm.gain" in names
    assert names[-2:] == ["head", "logits"]
