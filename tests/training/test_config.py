"""Settings: defaults, file, overrides, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tinyscene.export.quantization.qat import QatSettings
from tinyscene.runtime.errors import InputError
from tinyscene.training.config import differing, load_settings
from tinyscene.training.settings import StudentSettings, TeacherSettings, TrainSettings


def student(*overrides: str, file: Path | None = None) -> StudentSettings:
    return load_settings(StudentSettings, "student", file, overrides)


def test_defaults_are_the_published_recipes() -> None:
    settings = student()
    assert (settings.epochs, settings.batch_size, settings.lr, settings.weight_decay) == (150, 256, 9e-4, 1e-4)
    assert (settings.warmup_epochs, settings.rampdown_start, settings.rampdown_epochs) == (14, 50, 84)
    assert (settings.distill_lambda, settings.temperature, settings.budget) == (0.02, 2.0, "default")
    teacher = load_settings(TeacherSettings, "teacher")
    assert (teacher.arch, teacher.lr, teacher.mixstyle_probability, teacher.budget) == ("cpr", 1e-3, 0.8, "none")
    assert teacher.network_arguments() == {"base_channels": 32, "rho": 8}


def test_phases_shrink_with_the_epochs_unless_given() -> None:
    settings = student("epochs=15", "rampdown_start=7")
    assert (settings.warmup_epochs, settings.rampdown_start, settings.rampdown_epochs) == (1.4, 7, 8.4)


def test_overrides_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("student: {epochs: 3, lr: 1e-2, dir_devices: [a, b]}\nteacher: {epochs: 9}\nqat:\n")
    settings = student("epochs=4", file=file)
    assert (settings.epochs, settings.lr, settings.dir_devices) == (4, 0.01, ("a", "b"))
    assert load_settings(TeacherSettings, "teacher", file).epochs == 9
    assert load_settings(TrainSettings, "qat", file).epochs == 150


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("bas_channels=8", "unknown setting 'bas_channels': did you mean 'base_channels'"),
        ("zzzz=8", "unknown setting 'zzzz': expected one of epochs, "),
        ("epochs=1.5", "epochs is 1.5, expected a whole number"),
        ("epochs=true", "epochs is True, expected a whole number"),
        ("lr=fast", "lr is 'fast', expected a number"),
        ("lr=.nan", "lr is nan, expected a finite number"),
        ("lr=.inf", "lr is inf, expected a finite number"),
        ("epochs=0", "epochs is 0, expected a number that is at least 1"),
        ("freq_mask=-1", "freq_mask is -1, expected a number that is not negative"),
        ("mixstyle_probability=1.5", "between 0 and 1"),
        ("teacher_logits=never", "expected one of precomputed, online"),
        ("norm=5", "norm is 5, expected a word"),
        ("norm=layer", "expected one of none, frozen, grn"),
        ("arch=resnet", "expected one of cpm, cpr"),
        ("budget=tight", "expected one of none, default, dcase"),
        ("epochs", "'epochs' is not a setting: expected key=value"),
        ("lr=[", "not valid YAML"),
    ],
)
def test_bad_overrides_are_refused(override: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        student(override)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("students: {}\n", "unknown section 'students': did you mean 'student'"),
        ("epochs: 3\n", "expected sections teacher, student, freeze, qat"),
        ("student: {epoch: 3}\n", "unknown setting 'epoch': did you mean 'epochs'"),
        ("student: [\n", "is not valid YAML"),
        ("student: !!python/object/apply:os.getcwd []\n", "is not valid YAML"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        student(file=file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the configuration"):
        student(file=tmp_path / "absent.yaml")


def test_differing_names_both_values() -> None:
    assert differing({"lr": 1, "a": 2, "gone": 3}, {"lr": 4, "a": 2, "new": 5}) == [
        "lr: 1, now 4",
        "new: None, now 5",
        "gone: 3, now None",
    ]


def test_shipped_configurations_load() -> None:
    folder = Path(__file__).parents[2] / "training" / "configs"
    files = sorted(folder.glob("*.yaml"))
    assert files
    kinds: dict[str, type[TrainSettings]] = {"teacher": TeacherSettings, "student": StudentSettings, "qat": QatSettings}
    for file in files:
        for section, values in yaml.safe_load(file.read_text()).items():
            convolves = values.get("device_generalisation") in ("dir", "dirfms")
            if convolves:
                with pytest.raises(InputError, match="give their folder, as dir_folder=micirp/train"):
                    load_settings(kinds[section], section, file)
            overrides = ["dir_folder=micirp/train"] if convolves else []
            assert load_settings(kinds[section], section, file, overrides).epochs == values["epochs"]


@pytest.mark.parametrize("verb", ["teacher", "student", "qat"])
def test_listed_settings_are_a_configuration(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], tinyscene: Callable[..., int]
) -> None:
    with pytest.raises(SystemExit) as ended:
        tinyscene("train", verb, "--list-settings")
    assert ended.value.code == 0
    file = tmp_path / "defaults.yaml"
    file.write_text(capsys.readouterr().out)
    kind = {"teacher": TeacherSettings, "student": StudentSettings, "qat": QatSettings}[verb]
    assert load_settings(kind, verb, file) == load_settings(kind, verb)
