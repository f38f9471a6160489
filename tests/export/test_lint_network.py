"""The lint of networks that are not trained yet: planted operators are named with their module, before any epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from networks import lively
from torch import Tensor, nn

from tinyscene.export.lint.operators import ModelView
from tinyscene.export.lint.student import gate, network_view
from tinyscene.export.lint.targets import TARGETS, lint_view
from tinyscene.export.lint.verdict import REFUSED, OpLint
from tinyscene.runtime.errors import GateError, InputError
from tinyscene.runtime.frontend_spec import STUDENT
from tinyscene.training.models.cp_mobile import Block, CPMobile


class Planted(nn.Module):
    """A block and something behind it, called in `forward` where no module of its own shows it."""

    def __init__(self, block: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.block = block
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.block(x))


def attend(x: Tensor) -> Tensor:
    """Softmax attention over positions, written out."""
    flat = x.flatten(2)
    return (flat @ torch.softmax(flat.transpose(1, 2) @ flat, dim=-1)).view_as(x)


#: What is planted -> what the lint calls it.
FUNCTIONS: Mapping[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "gelu": (F.gelu, "GELU"),
    "silu": (F.silu, "SILU"),
    "hardswish": (F.hardswish, "HARD_SWISH"),
    "sigmoid gate": (lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)), "LOGISTIC"),
    "softmax": (lambda x: torch.softmax(x, dim=1), "SOFTMAX"),
    "attention": (attend, "BATCH_MATMUL"),
    "layer norm": (lambda x: F.layer_norm(x, x.shape[1:]), "LAYER_NORM"),
    "group norm": (lambda x: F.group_norm(x, 4), "GROUP_NORM"),
    "L2 norm": (lambda x: x / x.norm(dim=1, keepdim=True).clamp(min=1e-3), "VECTOR_NORM"),
    "in place": (lambda x: F.elu(x, inplace=True), "ELU"),
}


def small(norm: str = "none") -> CPMobile:
    """An untrained student."""
    torch.manual_seed(0)
    return CPMobile(n_classes=4, base_channels=8, norm=norm)


def refused(view: ModelView, target: str = "pi") -> list[OpLint]:
    """What a target refuses of a network."""
    return [op for op in lint_view(view, [target], ask=False)[0].ops if op.status == REFUSED]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_planted_function_is_named_with_its_module(name: str) -> None:
    function, kind = FUNCTIONS[name]
    model = small()
    model.blocks[2] = Planted(model.blocks[2], function)
    for target in TARGETS:
        found = [op for op in refused(network_view(model, STUDENT, "planted"), target) if op.kind == kind]
        assert found, target
        assert all(op.name.startswith("blocks.2: ") and op.fix for op in found)


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (nn.GELU(), "GELU"),
        (nn.LayerNorm([8, 32, 8]), "LAYER_NORM"),
        (nn.Softmax(dim=1), "SOFTMAX"),
        (nn.Mish(), "MISH"),
    ],
    ids=["GELU", "LayerNorm", "Softmax", "Mish"],
)
def test_a_planted_module_is_named(module: nn.Module, kind: str) -> None:
    model = small()
    block = model.blocks[2]
    assert isinstance(block, Block)
    block.norm = module
    (op,) = refused(network_view(model, STUDENT, "planted"))
    assert (op.kind, op.name.split(":")[0]) == (kind, "blocks.2.norm")


def test_nothing_else_is_named_beside_it() -> None:
    model = small("grn")
    model.blocks[4] = Planted(model.blocks[4], F.gelu)
    assert [op.name for op in refused(network_view(model, STUDENT, "planted"))] == ["blocks.4: gelu"]


@pytest.mark.parametrize("function", [lambda x: x + x, lambda x: x + 1.0, lambda x: F.avg_pool2d(x, 3, 1, 1)])
def test_a_network_that_computes_something_else_is_refused(function: Callable[[Tensor], Tensor]) -> None:
    """Each operator has an int8 form, but the lowered graph would leave the planted one out."""
    model = lively()
    forward = model.blocks[2].forward
    model.blocks[2].forward = lambda x: function(forward(x))
    assert [op.name for op in refused(network_view(model, STUDENT, "planted"))] == ["the network"]


def test_a_module_that_the_lowering_does_not_know_is_refused() -> None:
    model = small()
    block = model.blocks[2]
    assert isinstance(block, Block)
    block.norm = nn.BatchNorm2d(8)
    (op,) = refused(network_view(model, STUDENT, "planted"))
    assert "BatchNorm2d" in op.rule


@pytest.mark.parametrize("norm", ["none", "frozen", "grn"])
@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_untrained_students_have_the_operators_that_they_will_have(norm: str, padding: str) -> None:
    torch.manual_seed(0)
    model = CPMobile(n_classes=4, base_channels=8, norm=norm, padding=padding)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    view = network_view(model, STUDENT, "untrained")
    trained = network_view(lively(norm, padding=padding), STUDENT, "trained")
    assert [(op.name, op.kind) for op in view.operators] == [(op.name, op.kind) for op in trained.operators]
    assert model.training  # and nothing of it has changed
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    lints = {lint.target: lint for lint in lint_view(view, ask=False)}
    assert lints["edgetpu"].whole == (norm != "grn")
    assert all(lints[target].whole for target in TARGETS if target != "edgetpu")


def test_other_architectures_are_refused_by_name(
    tinyscene: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tinyscene("lint", "--student", "arch=crnn", "size=128k", "--target", "pi", "--rules-only") == 1
    assert "recurrent" in capsys.readouterr().out


def test_gate_names_module_rule_and_fix() -> None:
    model = small()
    model.blocks[2] = Planted(model.blocks[2], F.gelu)
    with pytest.raises(GateError, match=r"edgetpu .* blocks\.2: gelu .*GELU.*ReLU"):
        gate(model, STUDENT, "edgetpu")
    with pytest.raises(InputError, match="did you mean 'edgetpu'"):
        gate(model, STUDENT, "edgetpuu")
    gate(small("frozen"), STUDENT, "all")


def test_training_for_a_target_is_refused_before_the_first_epoch(
    tinyscene: Callable[..., int],
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["train", "student", "--data", corpus, "--out", tmp_path / "run", "--cache", tmp_path / "cache"]
    options = ["base_channels=8", "epochs=1", "batch_size=8", "device=cpu", "threads=1"]
    assert tinyscene(*arguments, *options, "norm=grn", "target=edgetpu") == 1
    assert "blocks.0.norm.inverse_rms" in capsys.readouterr().err
    assert tinyscene(*arguments, *options, "target=edgetpuu") == 2
    assert "edgetpu" in capsys.readouterr().err

    forward = Block.forward
    monkeypatch.setattr(Block, "forward", lambda self, x: F.gelu(forward(self, x)))
    assert tinyscene(*arguments, *options, "target=cortex-m") == 1
    assert "blocks.0: gelu" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "cache").exists()

    monkeypatch.setattr(Block, "forward", forward)
    assert tinyscene(*arguments, *options, "target=cortex-m") == 0


def test_without_a_gate_a_target_is_no_promise(
    tinyscene: Callable[..., int], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinyscene.training.gates.GROUP", "tinyscene.gates.none")
    assert tinyscene("train", "student", "--data", corpus, "--out", tmp_path / "run", "target=edgetpu") == 3
