"""The configurations for TAU22 against the table of released settings that lies beside the data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tinyscene.export.quantization.qat import QatSettings
from tinyscene.training.config import load_settings
from tinyscene.training.models.build import build_model, frontend_for
from tinyscene.training.models.counts import layer_costs, totals
from tinyscene.training.settings import NetworkSettings, StudentSettings, TeacherSettings

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
FOLDER = ["dir_folder=micirp/train"]


@pytest.fixture(scope="module")
def page(shared: Path) -> str:
    file = shared / "facts" / "paper.md"
    if not file.is_file():
        pytest.skip(f"no table of released settings at {file}")
    return file.read_text()


def table(page: str, section: str) -> dict[str, dict[str, str]]:
    """The first table after the heading `section`, as column -> row -> cell."""
    text = page[page.index(f"## {section}") :]
    lines = re.search(r"((?:^\|.*\n)+)", text, re.MULTILINE)
    assert lines is not None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1].splitlines()]
    header, _, *body = rows
    return {column: {row[0]: row[i] for row in body} for i, column in enumerate(header) if i}


def numbers(cell: str) -> list[float]:
    """The figures of a cell; "9e-4", "+-4000" and "15,500" are one each."""
    return [float(figure.replace(",", "")) for figure in re.findall(r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", cell)]


def row(column: dict[str, str], start: str) -> list[float]:
    """The figures of the row whose name starts with `start`."""
    (cell,) = [cell for name, cell in column.items() if name.startswith(start)]
    return numbers(cell)


def published(name: str) -> NetworkSettings:
    kind, section = (StudentSettings, "student") if name == "cpm" else (TeacherSettings, "teacher")
    return load_settings(kind, section, CONFIGS / f"{name}_tau22.yaml", FOLDER)


@pytest.mark.parametrize(("name", "heading"), [("cpm", "student"), ("cpr", "CPR 128 K"), ("passt", "PaSST")])
def test_every_figure_of_the_released_settings(page: str, name: str, heading: str) -> None:
    column, s = table(page, "Training settings (released)")[heading], published(name)
    checked = {
        "epochs / batch": [s.epochs, s.batch_size],
        "optimiser, lr, weight decay": [s.lr, s.weight_decay],
        "schedule": [s.warmup_epochs, s.rampdown_start, s.rampdown_epochs, s.final_factor],
        "Freq-MixStyle p / alpha": [s.mixstyle_probability, s.mixstyle_alpha],
        "device impulse response p (only on device a)": [s.dir_probability],
        "waveform roll": [s.roll_samples],
    }
    for start, figures in checked.items():
        assert row(column, start) == figures, start
    assert len(checked) == len(column)  # the table has no further row
    assert next(cell for name, cell in column.items() if name.startswith("optimiser")).startswith("Adam ")
    assert (s.schedule, s.device_generalisation, s.dir_devices, s.mixup_alpha) == ("published", "dirfms", ("a",), 0)


@pytest.mark.parametrize(("name", "heading"), [("cpm", "student"), ("cpr", "student"), ("passt", "PaSST")])
def test_every_figure_of_the_front_ends(page: str, name: str, heading: str) -> None:
    columns = table(page, "Front ends (released)")
    column = next(cells for header, cells in columns.items() if header.startswith(heading))
    s, spec = published(name), frontend_for(name)
    assert row(column, "mels / window") == [spec.n_mels, spec.win_length, spec.n_fft]
    hop, *other = row(column, "hop")
    assert spec.hop_length == (other[0] if name == "cpr" else hop)  # the student's column gives CP-ResNet's too
    assert row(column, "fmin-fmax") == [spec.fmin_hz, spec.fmax_hz]
    student = next(cells for header, cells in columns.items() if header.startswith("student"))
    jitter, freq_mask = row(student, "training only")
    assert (s.fmax_jitter_hz, s.freq_mask) == (jitter, freq_mask)
    time_mask = row(column, "training only") if name == "passt" else [0]
    assert time_mask == [s.time_mask]
    assert spec.sample_rate_hz == 32_000


def test_distillation_and_patch_out(page: str) -> None:
    weights = re.search(r"loss = ([\d.]+) \* CE \+ ([\d.]+) \* T\^2 \* KL.*with T = ([\d.]+)", page)
    assert weights is not None
    label, rest, temperature = map(float, weights.groups())
    s = published("cpm")
    assert (s.distill_lambda, 1 - s.distill_lambda, s.temperature) == (label, pytest.approx(rest), temperature)
    assert (s.teacher_logits, s.ensemble) == ("precomputed", "mean")
    patch_out = re.search(r"structured patch-out of (\d+) frequency rows", page)
    patches = re.search(r"16x16 patches, stride (\d+)", page)
    assert patch_out is not None
    assert patches is not None
    arguments = published("passt").network_arguments()
    assert (arguments["patchout_frequency"], arguments["patch_stride"]) == (int(patch_out[1]), int(patches[1]))
    assert arguments["patchout_time"] == 0


def test_networks_have_the_published_size(page: str) -> None:
    rows = re.search(r"^\| base 32, mult 2.3, exp 3 .* \| 64 \| ([\d,]+) .*? \| ([\d.]+) M ", page, re.MULTILINE)
    assert rows is not None
    student = published("cpm")
    spec = frontend_for("cpm")
    model = build_model("cpm", student.network_arguments(), 10)
    parameters, macs = totals(layer_costs(model, spec.n_mels, spec.n_frames()))
    assert parameters == int(rows[1].replace(",", ""))
    assert round(macs / 1e6, 2) == float(rows[2])
    assert student.network_arguments()["norm"] == "grn"
    teacher = build_model("cpr", published("cpr").network_arguments(), 10)
    assert round(sum(parameter.numel() for parameter in teacher.parameters()) / 1000) == 128


def test_quantisation_aware_fine_tuning(page: str) -> None:
    recipe = re.search(
        r"QAT: (\d+)-(\d+) epochs .* lr ([\de-]+) without warm-up, ramp to ([\d.]+)x over (\d+) epochs, .*last (\d+)\.",
        page,
    )
    assert recipe is not None
    fewest, most, lr, factor, ramp, frozen = map(float, recipe.groups())
    s = load_settings(QatSettings, "qat", CONFIGS / "cpm_tau22.yaml")
    assert fewest <= s.epochs <= most
    assert (s.lr, s.warmup_epochs, s.final_factor, s.rampdown_epochs) == (lr, 0, factor, ramp)
    assert s.frozen_epochs == frozen
