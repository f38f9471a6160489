"""The architectures side by side: named sizes, longer clips, learning, heads; and what sets CP-ResNet's hearing."""

from __future__ import annotations

import inspect
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tinyscene.runtime.errors import InputError
from tinyscene.training.models.build import ARCHITECTURES, build_model, frontend_for
from tinyscene.training.models.cp_resnet import CPResNet
from tinyscene.training.models.crnn import CRNN
from tinyscene.training.models.sizes import DEFAULTS, SIZES, network_arguments

COMMON = ("128k", "350k", "1m", "3m", "10m")
MEANT = {"128k": 128e3, "350k": 350e3, "1m": 1e6, "3m": 3e6, "10m": 10e6}

#: Constructor's arguments that no setting gives.
APART = {"cpm": {"strides", "blocks_per_stage"}}


def log_mels(arch: str, n_clips: int, n_seconds: float = 1.0) -> torch.Tensor:
    spec = frontend_for(arch)
    frames = spec.n_frames(round(n_seconds * spec.sample_rate_hz))
    return torch.randn(n_clips, 1, spec.n_mels, frames).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_sizes_are_what_their_names_say(arch: str) -> None:
    counted = {}
    for size in SIZES[arch]:
        with torch.device("meta"):
            model = build_model(arch, network_arguments(arch, size, {}), 10)
        counted[size] = sum(parameter.numel() for parameter in model.parameters())
    assert set(COMMON) <= set(SIZES[arch])
    for size in COMMON:
        assert counted[size] == pytest.approx(MEANT[size], rel=0.15)
    assert list(counted.values()) == sorted(counted.values())  # `check_budget` goes through them in this order


def test_sizes_named_after_published_weights() -> None:
    def count(arch: str, size: str, n_classes: int) -> int:
        with torch.device("meta"):
            model = build_model(arch, network_arguments(arch, size, {}), n_classes)
        return sum(parameter.numel() for parameter in model.parameters())

    assert count("mn", "mn04", 527) == 983_599
    # The paper's 86 M with 527 classes; there, a second head of 405,263 parameters belongs to the distillation token.
    assert count("passt", "published", 527) + 405_263 == pytest.approx(86.2e6, rel=0.005)


def test_widths_of_the_student_are_multiples_of_eight() -> None:
    assert all(arguments["base_channels"] % 8 == 0 for arguments in SIZES["cpm"].values())


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_defaults_are_the_constructors(arch: str) -> None:
    parameters = inspect.signature(ARCHITECTURES[arch][0]).parameters
    own = {name: parameter.default for name, parameter in parameters.items() if name != "n_classes"}
    assert {name: value for name, value in own.items() if name not in APART.get(arch, ())} == DEFAULTS[arch]
    for arguments in SIZES[arch].values():
        assert arguments.keys() <= DEFAULTS[arch].keys()


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_longer_clips_go_through(arch: str) -> None:
    model = build_model(arch, network_arguments(arch, "128k", {}), 7).eval()
    assert model(log_mels(arch, 2)).shape == (2, 7)
    if arch == "vit":
        with pytest.raises(InputError, match=r"200 frames is too long: .* covers 111 frames \(1\.1 s\)"):
            model(log_mels(arch, 1, 2.0))
        return
    assert model(log_mels(arch, 1, 10.0)).shape == (1, 7)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_network_learns_and_answers_alike_in_any_memory_format(arch: str) -> None:
    torch.manual_seed(0)
    model = build_model(arch, network_arguments(arch, "128k", {}), 4)
    x, y = log_mels(arch, 8), torch.arange(8) % 4
    quarter = x.shape[2] // 4
    for clip, label in zip(x, y, strict=True):
        clip[:, label * quarter : (label + 1) * quarter] += 2.0  # each scene is loud in its own band
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(24):
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.4 * losses[0]  # a broken one stays where it was, at ln 4
    model.eval()
    with torch.inference_mode():
        expected = model.to(memory_format=torch.contiguous_format)(x.contiguous())
        found = model.to(memory_format=torch.channels_last)(x)
    # Other kernels sum in another order: float32's rounding through some twenty layers.
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_only_the_head_depends_on_the_scenes(arch: str) -> None:
    """`initial` replaces what is called "head" when a trained network goes on with other scenes."""
    few, many = (build_model(arch, network_arguments(arch, "128k", {}), n).state_dict() for n in (3, 10))
    differing = {name for name in few if few[name].shape != many[name].shape}
    assert differing
    assert all(name.startswith("head") for name in differing)


def test_crnn_hears_the_whole_clip_at_its_first_and_last_step() -> None:
    torch.manual_seed(0)
    model = CRNN().eval()
    steps: list[torch.Tensor] = []
    model.recurrent.register_forward_hook(lambda _, __, output: steps.append(output[0]))
    x = torch.randn(1, 1, 128, 100, requires_grad=True)
    model(x)
    assert steps[0].shape == (1, 25, 96)
    for step, far_end in ((0, slice(96, 100)), (-1, slice(0, 4))):
        (gradient,) = torch.autograd.grad(steps[0][:, step].sum(), x, retain_graph=True)
        assert torch.count_nonzero(gradient[..., far_end]) > 0


def receptive_field(rho: int) -> tuple[int, int]:
    """(mels, frames) of the input that one place of the last block answers to, measured by its gradient."""
    torch.manual_seed(rho)
    model = CPResNet(base_channels=4, rho=rho).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.uniform_(module.weight, 0.1, 1.0)  # positive, so that no path is cut by a ReLU or cancelled
    places: list[torch.Tensor] = []
    model.blocks[-1].register_forward_hook(lambda _, __, output: places.append(output))
    # A maximum passes its gradient to one of its inputs: many clips, so that each of them is it once.
    x = torch.rand(48, 1, 256, 80, requires_grad=True)
    model(x)
    output = places[0]
    output[:, :, output.shape[2] // 2, output.shape[3] // 2].sum().backward()
    assert x.grad is not None
    touched = x.grad.abs().sum(dim=(0, 1)) > 0
    rows, columns = touched.any(dim=1).nonzero()[:, 0], touched.any(dim=0).nonzero()[:, 0]
    return int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1


def test_rho_sets_the_receptive_field_of_cp_resnet() -> None:
    """Against the sum over layers of (kernel - 1) x stride so far, worked out by hand for rho 1 and 8."""
    measured = {rho: receptive_field(rho) for rho in range(1, 10)}
    # Stem 5, pool 2, block 3, pool 2 in frequency, ones, pool 2 in frequency: 1 + 4 + 2 + 8 + 4 + 8 mels.
    assert measured[1] == (27, 15)
    # The second block's two threes add 2 x 16 mels, those of the third 2 x 32 and the fourth's first 32.
    assert measured[8] == (155, 55)
    assert measured[5] == measured[6] == measured[7]  # kernels of a block that the published network leaves out
    distinct = [measured[rho] for rho in (1, 2, 3, 4, 5, 8, 9)]
    for smaller, larger in itertools.pairwise(distinct):
        assert smaller[0] < larger[0]
        assert smaller[1] < larger[1]


@pytest.mark.parametrize("rho", [0, 10])
def test_a_rho_beyond_the_network_is_refused(rho: int) -> None:
    with pytest.raises(InputError, match=f"rho is {rho}, expected 1 to 9"):
        build_model("cpr", {"rho": rho}, 10)
