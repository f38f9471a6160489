"""The clips that calibration and golden vectors are made from: training snippets, files, or generated scenes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import InputError
from ..runtime.frontend import log_mel
from ..runtime.frontend_spec import FrontendSpec
from ..runtime.output import Output

if TYPE_CHECKING:
    from ..training.batches import TrainingData

#: Clips that calibration looks at; twice as many change no range by a per cent.
COUNT = 256

_SEED = 0


@dataclass(frozen=True, eq=False)
class Clips:
    """Waves with their log-mels, and where they are from."""

    wave: NDArray[np.int16]  # (n, clip_samples), real = int16 / 32768
    log_mel: NDArray[np.float32]  # (n, n_mels, n_frames)
    origin: str


def clips_of_data(data: TrainingData, spec: FrontendSpec, count: int = COUNT) -> Clips:
    """Up to `count` snippets of the training side, the same ones every time, spread over all its recordings."""
    indices = np.sort(np.random.default_rng(_SEED).permutation(data.train)[:count])
    origin = f"{len(indices)} training snippets of {data.corpus.root.resolve().name}, fold {data.fold_number}"
    return _clips(np.asarray(data.cache.waves[indices]), spec, origin)


def clips_to_evaluate(data: TrainingData, spec: FrontendSpec, count: int) -> Clips:
    """Up to `count` snippets of the evaluation side, evenly spread."""
    indices = data.evaluate
    picked = indices[np.unique(np.linspace(0, len(indices) - 1, min(count, len(indices))).astype(int))]
    origin = f"{len(picked)} evaluation snippets of {data.corpus.root.resolve().name}, fold {data.fold_number}"
    return _clips(data.cache.rows(picked), spec, origin)


def clips_of_files(paths: Sequence[Path], spec: FrontendSpec, count: int = COUNT) -> Clips:
    """Up to `count` clips cut from audio files (or all files of folders), evenly spread.

    Raises `InputError` when there are none, or when a file is missing, damaged or shorter than a clip.
    """
    from ..training.data.snippets import cut_file

    files = [
        file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path]) if file.name[0] != "."
    ]
    if not files:
        raise InputError(f"no audio files in {', '.join(map(str, paths))}: name files of at least one second")
    waves = np.concatenate([cut_file(file, spec.sample_rate_hz, spec.clip_samples) for file in files])
    picked = np.unique(np.linspace(0, len(waves) - 1, min(count, len(waves))).astype(int))
    return _clips(waves[picked], spec, f"{len(picked)} clips of {len(files)} files")


def generated_clips(spec: FrontendSpec, output: Output) -> Clips:
    """Clips of generated scenes: they keep the network running, but real recordings set its ranges better."""
    from ..training.data.synth import SynthSpec, generate

    output.log("no recordings given: calibrating on generated scenes; use --data or --calibrate for a model to deploy")
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        generate(corpus, SynthSpec(clips_per_scene=14))
        clips = clips_of_files([corpus / "audio"], spec)
    return Clips(clips.wave, clips.log_mel, f"{len(clips.wave)} generated clips")


def log_mels(waves: NDArray[np.int16], spec: FrontendSpec) -> NDArray[np.float32]:
    """Log-mels (n, n_mels, n_frames) of `waves` (n, clip_samples) by the runtime's front end."""
    return np.stack([log_mel(wave.astype(np.float32) / np.float32(32768.0), spec) for wave in waves])


def _clips(waves: NDArray[np.int16], spec: FrontendSpec, origin: str) -> Clips:
    return Clips(waves, log_mels(waves, spec), origin)
