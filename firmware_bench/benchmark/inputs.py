"""What goes into every target, and what LiteRT's reference kernels make of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...export.formats.model_file import ModelFile
from ...export.verification.golden import load_golden
from ...export.verification.stimuli import stimuli
from ...runtime.engines.litert import LiteRTEngine
from ...runtime.errors import InputError
from ...runtime.frontend import StreamingLogMel, log_mel
from ...runtime.frontend_spec import FrontendSpec
from ...runtime.int8 import quantize
from ..firmware import contract_of


@dataclass(frozen=True, eq=False)
class Inputs:
    """`planes` int8 (n, rows, columns) and their `logits` int8 (n, classes); `waves` int16 (k, samples), long enough
    for one decision of a stream, and the class that it is to decide for."""

    planes: NDArray[np.int8]
    logits: NDArray[np.int8]
    waves: tuple[NDArray[np.int16], ...]
    decisions: tuple[int, ...]
    needed_samples: int = 0  # until the first window of frames is whole
    origin: str = ""

    @property
    def classes(self) -> int:
        """Of the network."""
        return int(self.logits.shape[1])


def gather(model: ModelFile, data: Path | None, count: int, waves: int = 1) -> Inputs:
    """`count` real inputs (of `data`'s evaluation side, or the bundle's golden ones) and as many adversarial ones.

    `waves` clips are heard as PCM. Raises `InputError` for a count below 1 or a folder without recordings.
    """
    if count < 1:
        raise InputError(f"{count} inputs to compare, expected at least 1: set --inputs")
    _, spec = contract_of(model)
    if data is not None and spec is None:
        raise InputError(f"{model.path} does not say what it hears, so recordings cannot be compared: leave --data out")
    clips = _clips(model, spec, data, count)
    quant = model.graph.input_quant
    real = [quantize(log_mel(_float(clip), spec), quant.scale, quant.zero_point) for clip in clips] if spec else []
    shape = model.graph.tensor[model.graph.input].shape[1:]
    odd = stimuli(shape, quant, count)
    planes = np.concatenate([np.stack(real)[..., None], odd]) if real else odd
    file = model.path / "model.tflite" if model.path.is_dir() else model.path
    engine = LiteRTEngine(file, "reference", content=model.data)
    logits = np.stack([engine.run_int8(plane[None])[0] for plane in planes])
    if spec is None or not real:
        return Inputs(planes, logits, (), (), 0, f"{count} adversarial inputs")
    needed = spec.win_length // 2 + (spec.n_frames() - 1) * spec.hop_length + 1
    heard = [np.resize(clip, needed + spec.hop_length) for clip in clips[:waves]]
    decisions = tuple(_decision(engine, spec, wave[: _ready(spec, needed)]) for wave in heard)
    origin = f"{len(real)} real log-mels ({'golden vectors' if data is None else data.name}), {count} adversarial"
    return Inputs(planes, logits, tuple(heard), decisions, needed, origin)


def _ready(spec: FrontendSpec, needed: int) -> int:
    """Samples that have been fed, hop by hop, when the window is whole."""
    return -(-needed // spec.hop_length) * spec.hop_length


def _decision(engine: LiteRTEngine, spec: FrontendSpec, wave: NDArray[np.int16]) -> int:
    """What `tinyscene listen` hears at the same moment of the same stream."""
    frames = StreamingLogMel(spec).push(_float(wave))
    return int(engine.logits(frames[:, -spec.n_frames() :]).argmax())


def _float(wave: NDArray[np.int16]) -> NDArray[np.float32]:
    return wave.astype(np.float32) / np.float32(32768)


def _clips(model: ModelFile, spec: FrontendSpec | None, data: Path | None, count: int) -> NDArray[np.int16]:
    """int16 (n, clip_samples) at the front end's rate."""
    if spec is None or (data is None and model.bundle is None):
        return np.empty((0, 0), np.int16)
    if data is None:
        assert model.bundle is not None
        return load_golden(model.bundle.file("golden.npz")).wave[:count]
    from ...runtime.audio import read_mono

    files = sorted(path for path in data.rglob("*") if path.suffix.lower() in (".wav", ".flac", ".ogg"))
    if not files:
        raise InputError(f"{data} holds no .wav, .flac or .ogg files: name a folder of recordings with --data")
    picked = [files[index] for index in np.unique(np.linspace(0, len(files) - 1, count).astype(int))]
    clips: list[NDArray[np.int16]] = []
    for path in picked:
        wave = np.resize(read_mono(path, spec.sample_rate_hz), spec.clip_samples)
        clips.append(np.clip(np.rint(wave * 32768), -32768, 32767).astype(np.int16))
    return np.stack(clips)
