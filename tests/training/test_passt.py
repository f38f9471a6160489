"""PaSST against the package of its authors, on the same random weights."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tinyscene.runtime.errors import InputError
from tinyscene.training.models.build import build_model
from tinyscene.training.models.passt import PaSST
from tinyscene.training.models.pretrained import PUBLISHED, read_published, read_with_head
from tinyscene.training.models.sizes import network_arguments

pytestmark = pytest.mark.filterwarnings("ignore:Input image size")  # theirs, for clips that are not 998 frames long


@pytest.fixture(scope="module")
def published() -> Iterator[Any]:
    """The authors' module of the network, without the rest of their package, which needs audio libraries."""
    spec = importlib.util.find_spec("hear21passt")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("hear21passt is not installed: .venv/bin/pip install --no-deps hear21passt==0.0.26")
    with pytest.MonkeyPatch.context() as patch:
        package = types.ModuleType("hear21passt")
        package.__path__ = list(spec.submodule_search_locations)
        patch.setitem(sys.modules, "hear21passt", package)
        # It downloads its weights through timm, which nothing here asks it to.
        hub = types.ModuleType("timm.models._hub")
        hub.download_cached_file = None  # type: ignore[attr-defined]
        for name, module in (("timm", types.ModuleType("timm")), ("timm.models", types.ModuleType("timm.models"))):
            patch.setitem(sys.modules, name, module)
        patch.setitem(sys.modules, "timm.models._hub", hub)
        module = importlib.import_module("hear21passt.models.passt")
        patch.setattr(module, "first_RUN", False)  # it prints every shape once
        yield module
        for name in [name for name in sys.modules if name.startswith("hear21passt.")]:
            del sys.modules[name]


def pair(published: Any, dim: int, depth: int, heads: int, classes: int, **ours: int) -> tuple[nn.Module, PaSST]:
    """Their network and ours with the same weights, none of them left at zero or one."""
    theirs = published.PaSST(
        stride=10,
        embed_dim=dim,
        depth=depth,
        num_heads=heads,
        num_classes=classes,
        distilled=True,
        s_patchout_f=ours["patchout_frequency"],
        s_patchout_t=ours["patchout_time"],
    )
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    network = PaSST(classes, dim, depth, heads, 10, **ours)
    network.load_state_dict(PUBLISHED["passt"].rename(theirs.state_dict()))
    return theirs, network


@pytest.mark.parametrize("frames", [100, 57, 998, 1000])
def test_forward_is_the_published_one(published: Any, frames: int) -> None:
    torch.manual_seed(frames)
    theirs, network = pair(published, 64, 2, 4, 7, patchout_frequency=6, patchout_time=2)
    log_mel = torch.randn(2, 1, 128, frames)
    expected = theirs.eval()(log_mel)[0]
    # float32: sums over up to 1190 tokens, taken in another order.
    torch.testing.assert_close(network.eval()(log_mel), expected, rtol=1e-4, atol=1e-4)
    with torch.inference_mode():  # torch takes another path there, and training and prediction other strides
        fast = network(log_mel.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(fast, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("frequency", "time"), [(6, 0), (0, 20), (4, 30)])
def test_patchout_draws_as_the_published_one(published: Any, frequency: int, time: int) -> None:
    theirs, network = pair(published, 32, 1, 2, 3, patchout_frequency=0, patchout_time=0)
    network.patchout_frequency = theirs.s_patchout_f = frequency
    network.patchout_time = theirs.s_patchout_t = time
    log_mel = torch.randn(2, 1, 128, 998)  # as long as the positions, which are then taken from their start
    outputs = []
    for model, call in ((theirs, lambda: theirs(log_mel)[0]), (network, lambda: network(log_mel))):
        model.train()
        torch.manual_seed(5)
        outputs.append(call())
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-4)
    torch.manual_seed(6)
    assert not torch.allclose(network(log_mel), outputs[1], rtol=1e-4, atol=1e-4)


def test_patchout_leaves_out_rows_and_columns_in_training_only() -> None:
    network = PaSST(patchout_frequency=5, patchout_time=2)
    seen: list[int] = []
    network.transformer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    network(torch.zeros(1, 1, 128, 100))
    network.eval()(torch.zeros(1, 1, 128, 100))
    assert seen == [(12 - 5) * (9 - 2) + 2, 12 * 9 + 2]


def test_a_snippet_is_anywhere_in_time_in_training_and_at_the_start_in_evaluation() -> None:
    torch.manual_seed(0)
    network = PaSST(patchout_frequency=0)
    log_mel = torch.randn(1, 1, 128, 100)
    network(log_mel).sum().backward()
    touched = network.time_position.grad.abs().sum(dim=1).nonzero()[:, 0]
    assert touched.tolist() == list(range(int(touched[0]), int(touched[0]) + 9))
    assert touched[0] > 0  # this seed's draw
    network.eval()
    before = network(log_mel)
    with torch.no_grad():
        network.time_position[9:] = 1.0
    assert torch.equal(network(log_mel), before)


def test_too_long_a_clip_is_refused_by_its_length() -> None:
    assert PaSST().eval()(torch.zeros(1, 1, 128, 1005)).shape == (1, 10)
    with pytest.raises(InputError, match=r"log-mel of 1006 frames is too long: .* covers 1005 frames \(10\.\d s\)"):
        PaSST()(torch.zeros(1, 1, 128, 1006))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 3}, "heads is 3, expected a divisor of dim"),
        ({"patchout_frequency": 12}, "patchout_frequency is 12, expected 0 to 11"),
        ({"patchout_time": 9}, "patchout_time is 9, expected 0 to 8"),
        ({"patch_stride": 17}, "patch_stride is 17, expected 1 to 16"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_model("passt", arguments, 10)


def test_the_official_file_is_read(published: Any, tmp_path: Path) -> None:
    """A file with the keys and shapes of `passt_s_swa_p16_128_ap476`, which cannot be had here, at its full size."""
    file = tmp_path / "passt-s-f128-p16-s10-ap.476-swa.pt"
    torch.manual_seed(0)
    theirs = published.PaSST(stride=10, embed_dim=768, depth=12, num_heads=12, num_classes=527, distilled=True)
    assert len(theirs.state_dict()) == 159
    torch.save(theirs.state_dict(), file)
    arguments = network_arguments("passt", "published", {})
    weights = read_with_head("passt", arguments, file)
    with torch.device("meta"):
        network = build_model("passt", arguments, 527)
    network.load_state_dict(weights, assign=True)
    log_mel = torch.randn(1, 1, 128, 100)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(log_mel), theirs.eval()(log_mel)[0], rtol=1e-4, atol=1e-4)
    assert weights.keys() - read_published("passt", arguments, file).keys() == {"head.weight", "head.bias"}
    with pytest.raises(InputError, match=r"does not fit passt .* set dim=768 depth=12 heads=12 patch_stride=10"):
        read_published("passt", network_arguments("passt", "128k", {}), file)
    with pytest.raises(InputError, match=r"heads 6.*: set dim=768 depth=12 heads=12"):
        read_published("passt", {**arguments, "heads": 6}, file)
