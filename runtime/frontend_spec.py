"""The front-end contract: every number that turns a waveform into the log-mel a network was trained on.

Three implementations follow it and are held equal by tests: numpy (`tinyscene.runtime.frontend`), batched torch
(`tinyscene.training.features`) and, on the microcontroller, C. The contract's hash travels in every artefact.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError


@dataclass(frozen=True)
class FrontendSpec:
    """Log-mel front end: pre-emphasis, centred STFT, power, Kaldi mel bank, logarithm, fixed normalisation.

    y[n] = x[n+1] - preemphasis * x[n] (one sample shorter than x); reflect padding at both ends of a clip; symmetric
    Hann window of `win_length` samples in an FFT of `n_fft` points; mel energies e; then
    (log(e + log_offset) + norm_shift) / norm_scale.
    """

    sample_rate_hz: int = 32_000
    clip_samples: int = 32_000  # one decision's worth of audio
    preemphasis: float = 0.97
    n_fft: int = 4096
    win_length: int = 3072
    hop_length: int = 500
    n_mels: int = 256
    fmin_hz: float = 0.0
    fmax_hz: float = 15_500.0
    log_offset: float = 1e-5
    norm_shift: float = 4.5
    norm_scale: float = 5.0

    def __post_init__(self) -> None:
        for name in ("sample_rate_hz", "clip_samples", "n_fft", "win_length", "hop_length", "n_mels"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
                raise InputError(f"front end: {name} is {value!r}, expected a positive whole number")
        if self.win_length > self.n_fft:
            raise InputError(f"front end: win_length {self.win_length} is longer than n_fft {self.n_fft}")
        if self.win_length % 2 or self.n_fft % 2:
            raise InputError(f"front end: win_length {self.win_length} and n_fft {self.n_fft} must be even")
        if not 0.0 <= self.fmin_hz < self.fmax_hz <= self.sample_rate_hz / 2:
            raise InputError(
                f"front end: fmin {self.fmin_hz} Hz and fmax {self.fmax_hz} Hz must lie in order between 0 and "
                f"{self.sample_rate_hz / 2:.0f} Hz"
            )
        if self.log_offset <= 0.0 or self.norm_scale <= 0.0:
            raise InputError("front end: log_offset and norm_scale must be positive")

    def n_frames(self, n_samples: int | None = None) -> int:
        """Frames of a clip of `n_samples` samples (default: `clip_samples`); pre-emphasis drops one sample."""
        samples = self.clip_samples if n_samples is None else n_samples
        return 1 + (samples - 1) // self.hop_length

    @property
    def hop_s(self) -> float:
        """Time from one frame to the next, in seconds."""
        return self.hop_length / self.sample_rate_hz

    def window(self) -> NDArray[np.float32]:
        """Symmetric Hann window, (win_length,) float32."""
        return np.hanning(self.win_length).astype(np.float32)

    def mel_matrix(self, fmin_hz: float | None = None, fmax_hz: float | None = None) -> NDArray[np.float32]:
        """Mel bank as Kaldi defines it, (n_mels, n_fft // 2 + 1) float32.

        mel(f) = 1127 ln(1 + f/700); triangles are straight lines in the mel domain, equally spaced between the two
        limits, with peak 1. The Nyquist bin belongs to no triangle.
        """
        ((_, start, bank),) = self.mel_blocks(self.n_mels, fmin_hz, fmax_hz)
        return np.pad(bank, ((0, 0), (start, self.n_fft // 2 + 1 - start - bank.shape[1])))

    def mel_blocks(
        self, mels: int, fmin_hz: float | None = None, fmax_hz: float | None = None
    ) -> list[tuple[int, int, NDArray[np.float32]]]:
        """`mel_matrix` cut into `mels` rows each and the bins that these touch: (first mel, first bin, matrix).

        A triangle covers few bins, so the blocks hold a small part of the matrix and are as much faster to make.
        """
        low = _mel(self.fmin_hz if fmin_hz is None else fmin_hz)
        high = _mel(self.fmax_hz if fmax_hz is None else fmax_hz)
        step = (high - low) / (self.n_mels + 1)
        left = low + step * np.arange(self.n_mels)[:, None]
        bins = _mel(np.arange(self.n_fft // 2) * (self.sample_rate_hz / self.n_fft))
        blocks = []
        for first in range(0, self.n_mels, mels):
            rows = left[first : first + mels]
            # Triangles end where they are 0: bins there may be left out.
            start = int(np.searchsorted(bins, rows[0, 0]))
            stop = max(start + 1, int(np.searchsorted(bins, rows[-1, 0] + 2 * step, side="right")))
            touched = bins[start:stop]
            rising, falling = (touched - rows) / step, (rows + 2 * step - touched) / step
            blocks.append((first, start, np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)))
        return blocks

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> FrontendSpec:
        """Read what `to_dict` wrote; raises `InputError` on a missing, unknown or ill-typed field."""
        if not isinstance(values, dict):
            raise InputError(f"front end: expected a mapping of fields, got {type(values).__name__}")
        known = {field.name: field.type for field in fields(cls)}
        if set(values) != set(known):
            odd = sorted(set(values) ^ set(known))
            raise InputError(f"front end: fields {odd} are missing or unknown, expected {sorted(known)}")
        for name, kind in known.items():
            allowed = (int,) if kind == "int" else (int, float)
            if isinstance(values[name], bool) or not isinstance(values[name], allowed):
                raise InputError(f"front end: {name} is {values[name]!r}, expected {kind}")
        typed: dict[str, Any] = {
            name: float(values[name]) if known[name] == "float" else values[name] for name in known
        }
        return cls(**typed)

    def hash(self) -> str:
        """Content hash of the contract, 64 hexadecimal digits: equal exactly when every field is."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def differences(self, other: FrontendSpec) -> list[str]:
        """One line a field in which the two contracts differ: "hop_length: 500 != 750"."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [f"{name}: {mine[name]} != {theirs[name]}" for name in mine if mine[name] != theirs[name]]


def _mel(frequency_hz: Any) -> Any:
    return 1127.0 * np.log1p(np.asarray(frequency_hz, dtype=np.float64) / 700.0)


#: Front end of the student (CP-Mobile): 256 x 64 for one second.
STUDENT = FrontendSpec()

#: Front end of CP-ResNet teachers: the student's with a longer hop.
CP_RESNET = FrontendSpec(hop_length=750)

#: Front end of PaSST: 128 mels of 25-ms windows.
PASST = FrontendSpec(n_fft=1024, win_length=800, hop_length=320, n_mels=128)

#: Front end of EfficientAT's AudioSet networks: PaSST's, with a lower upper limit.
EFFICIENTAT = FrontendSpec(n_fft=1024, win_length=800, hop_length=320, n_mels=128, fmax_hz=15_000.0)
