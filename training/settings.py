"""Settings of a training, their defaults (the published recipe's) and what is checked about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..runtime.budget import PRESETS
from ..runtime.errors import InputError
from .models.sizes import ARGUMENTS, SIZES, network_arguments

#: How a network is made to hear through microphones it was not trained with; "dirfms" is "dir" and "fms".
DEVICE_GENERALISATION = ("none", "mixstyle", "fms", "dir", "dirfms")


@dataclass(frozen=True)
class TrainSettings:
    """What every training needs to know; phases of the schedule left at null take the recipe's share of `epochs`."""

    epochs: int = 150
    batch_size: int = 256
    lr: float = 9e-4
    weight_decay: float = 1e-4
    warmup_epochs: float | None = None  # exponential rise; 14 of 150
    rampdown_start: float | None = None  # end of the constant phase; 50 of 150
    rampdown_epochs: float | None = None  # linear fall; 84 of 150
    final_factor: float = 0.005  # of lr, after the fall
    schedule: str = "published"  # the phases above; "cosine": warm-up, then a half cosine; "constant"
    init: str | None = None  # trained run (its head is replaced when its scenes differ), or published weights
    roll_samples: int = 4000
    gain_db: float = 0.0  # each clip louder or quieter by up to this
    clip_mix: float = 0.0  # share of clips that another is mixed into before student and "online" teachers hear them
    device_generalisation: str = "fms"  # "none", "mixstyle", "fms", "dir", "dirfms"
    dir_folder: str | None = None  # impulse responses of microphones, for "dir" and "dirfms"
    dir_probability: float = 0.6
    dir_devices: tuple[str, ...] = ("a",)  # devices whose clips are convolved; "*" is all of them
    mixstyle_probability: float = 0.4  # of "mixstyle", "fms" and "dirfms"
    mixstyle_alpha: float = 0.3
    mixup_alpha: float = 0.0  # 0: no mixup
    fmax_jitter_hz: float = 500.0
    freq_mask: int = 48  # mels
    time_mask: int = 0  # frames
    distill_lambda: float = 0.02  # weight of the labels against the teachers
    temperature: float = 2.0
    teacher_logits: str = "precomputed"  # once, of the clips as they are; "online": of each augmented batch
    teacher_context_s: float = 1.0  # of the longer recording that a teacher hears around a snippet
    ensemble: str = "mean"  # of the teachers: "mean", "validation" (weighted by accuracy), "learnt" (per scene)
    ensemble_size: int | None = None  # the first so many teachers; all when null
    holdout: float = 0.0  # share of the training recordings kept aside, for the weights of an ensemble
    evaluate_every: int = 5  # epochs
    check_epoch: int | None = None  # after this epoch the training ends with exit code 1 ...
    check_accuracy: float = 0.0  # ... when its accuracy on the evaluation side is lower than this
    seed: int = 0
    device: str = "auto"  # "cpu", "cuda"
    devices: int = 1  # GPUs (or CPU processes) of each node
    nodes: int = 1
    strategy: str = "auto"  # Lightning's: "ddp", "fsdp", ...
    precision: str = "32-true"  # "bf16-mixed", "16-mixed"
    threads: int = 0  # torch's own choice when 0
    workers: int = 0  # processes that gather batches; 0: in the training's own

    def resolve(self) -> TrainSettings:
        """The same settings with every phase of the schedule given in epochs, checked for sense."""
        shares = {"warmup_epochs": 14 / 150, "rampdown_start": 50 / 150, "rampdown_epochs": 84 / 150}
        missing: dict[str, Any] = {key: round(share * self.epochs, 2) for key, share in shares.items()}
        settings = replace(self, **{key: value for key, value in missing.items() if getattr(self, key) is None})
        settings.check()
        return settings

    def check(self) -> None:
        """Raise `InputError` naming the first setting that is out of its range."""
        optional = tuple(key for key in ("ensemble_size", "check_epoch") if getattr(self, key) is not None)
        at_least_one = ("epochs", "batch_size", "evaluate_every", "devices", "nodes", "teacher_context_s", *optional)
        not_negative = (
            "weight_decay", "warmup_epochs", "rampdown_start", "rampdown_epochs", "roll_samples", "fmax_jitter_hz",
            "gain_db", "freq_mask", "time_mask", "seed", "threads", "workers", "mixup_alpha",
        )  # fmt: skip
        shares = (
            "final_factor", "dir_probability", "mixstyle_probability", "distill_lambda", "holdout", "check_accuracy",
            "clip_mix",
        )  # fmt: skip
        positive = ("lr", "mixstyle_alpha", "temperature")
        for keys, holds, expected in (
            (at_least_one, lambda value: value >= 1, "at least 1"),
            (not_negative, lambda value: value >= 0, "not negative"),
            (shares, lambda value: 0 <= value <= 1, "between 0 and 1"),
            (positive, lambda value: value > 0, "positive"),
        ):
            for key in keys:
                if not holds(getattr(self, key)):
                    raise InputError(f"{key} is {getattr(self, key)}, expected a number that is {expected}")
        self._check_choice("schedule", ("published", "cosine", "constant"))
        self._check_choice("device_generalisation", DEVICE_GENERALISATION)
        self._check_choice("teacher_logits", ("precomputed", "online"))
        self._check_choice("ensemble", ("mean", "validation", "learnt"))
        self._check_choice("device", ("auto", "cpu", "cuda"))
        self._check_choice("precision", ("32-true", "bf16-mixed", "16-mixed"))
        self._check_combinations()

    def _check_combinations(self) -> None:
        convolved = self.device_generalisation in ("dir", "dirfms")
        if convolved and self.dir_folder is None:
            raise InputError(
                f"device_generalisation is {self.device_generalisation!r}, which needs impulse responses: "
                "give their folder, as dir_folder=micirp/train"
            )
        if self.dir_folder is not None and not convolved:
            raise InputError(
                f"dir_folder is set, but device_generalisation is {self.device_generalisation!r}: "
                "set it to 'dir' or 'dirfms', or leave dir_folder out"
            )
        if self.holdout > 0.5:
            raise InputError(f"holdout is {self.holdout}, expected at most 0.5: most recordings are to train on")
        if self.check_epoch is not None and self.check_epoch > self.epochs:
            raise InputError(f"check_epoch is {self.check_epoch}, expected at most {self.epochs} (epochs)")
        if self.clip_mix and self.teacher_logits != "online":
            raise InputError(
                f"clip_mix is {self.clip_mix}, but teacher_logits is {self.teacher_logits!r}: mixed clips need "
                "teachers that hear them, so set teacher_logits=online or leave clip_mix at 0"
            )
        if self.teacher_logits == "online" and (self.ensemble != "mean" or self.teacher_context_s != 1.0):
            raise InputError(
                "teacher_logits is 'online', where teachers hear only the augmented snippet and are averaged: "
                "leave ensemble at 'mean' and teacher_context_s at 1"
            )

    def _check_choice(self, key: str, choices: Sequence[str]) -> None:
        if getattr(self, key) not in choices:
            raise InputError(f"{key} is {getattr(self, key)!r}, expected one of {', '.join(choices)}")

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain YAML values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class NetworkSettings(TrainSettings):
    """Settings of a training that makes its network."""

    arch: str = "cpm"
    size: str | None = None  # a named size of the architecture, such as "128k"
    budget: str = "none"  # "none", "default", "dcase"
    target: str | None = None  # "edgetpu", "tflite-micro", "ethos-u", "cortex-m", "pi": it has to run the whole network
    # Arguments of the architecture; at null that of the size, else the architecture's default.
    base_channels: int | None = None  # cpm, cpr, crnn
    channels_multiplier: float | None = None  # cpm
    expansion_rate: float | None = None  # cpm
    norm: str | None = None  # cpm: "none", "frozen", "grn"
    padding: str | None = None  # cpm, where a window strides: "symmetric", "same"
    rho: int | None = None  # cpr: receptive field
    hidden: int | None = None  # crnn: width of the recurrent layer
    width: float | None = None  # mn
    dim: int | None = None  # passt, vit
    depth: int | None = None  # passt, vit
    heads: int | None = None  # passt, vit
    patch_stride: int | None = None  # passt, vit
    patchout_frequency: int | None = None  # passt: rows of patches left out in training
    patchout_time: int | None = None  # passt: columns of patches left out in training

    def network_arguments(self) -> dict[str, Any]:
        """The arguments of `build_model` for `arch`: its defaults, those of `size`, and what is set here.

        Raises `InputError` for an unknown size, and for an argument that the architecture does not have.
        """
        return network_arguments(self.arch, self.size, self.given_arguments())

    def given_arguments(self) -> dict[str, Any]:
        """The arguments of the network that are set, by name."""
        return {key: getattr(self, key) for key in ARGUMENTS if getattr(self, key) is not None}

    def check(self) -> None:
        """Raise `InputError` naming the first setting that is out of its range."""
        super().check()
        self._check_choice("arch", tuple(SIZES))
        self._check_choice("budget", ("none", *PRESETS))
        if self.norm is not None:
            self._check_choice("norm", ("none", "frozen", "grn"))
        if self.padding is not None:
            self._check_choice("padding", ("symmetric", "same"))
        for key, value in self.given_arguments().items():
            if not isinstance(value, str) and value < (0 if key.startswith("patchout") else 1e-3):
                raise InputError(f"{key} is {value}, expected a positive number")
        self.network_arguments()


@dataclass(frozen=True)
class StudentSettings(NetworkSettings):
    """The published student's recipe."""

    budget: str = "default"


@dataclass(frozen=True)
class TeacherSettings(NetworkSettings):
    """The published CP-ResNet teacher's recipe."""

    arch: str = "cpr"
    lr: float = 1e-3
    weight_decay: float = 1e-3
    dir_probability: float = 0.4
    mixstyle_probability: float = 0.8
    mixstyle_alpha: float = 0.4
