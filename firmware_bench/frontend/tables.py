"""The numbers of the C front end, made from the contract: window, cosines, mel weights, logarithms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError
from ...runtime.frontend_spec import FrontendSpec

#: Lengths of the transform; the shortest has one first pass, the longest keeps every index in 16 bits.
SHORTEST, LONGEST = 8, 32_768

#: Binary places of a fixed-point window and of a fixed-point cosine.
_Q31 = 31


@dataclass(frozen=True, eq=False)
class MelSegments:
    """The mel bank, one weight a bin (see c/ts_frontend_mel.h)."""

    first_bin: int
    segments: NDArray[np.intp]  # (n_mels + 2,) where each segment's weights begin; the last is their number
    weights: NDArray[np.float64]  # (bins,) of the rising triangle, in [0, 1)


@dataclass(frozen=True, eq=False)
class Tables:
    """Everything the generated C holds, in its types: float32, or int32 and uint16 where `fixed`."""

    spec: FrontendSpec
    fixed: bool
    window: NDArray[Any]  # (win_length // 2,) first half
    cosine: NDArray[Any]  # (n_fft // 4 + 1,) of a quarter turn
    first_bin: int
    segments: NDArray[np.uint16]  # (n_mels + 2,)
    weights: NDArray[Any]  # (bins,)
    log2: NDArray[np.int32]  # (129,) units of 2^-24; empty in float

    @property
    def flash_bytes(self) -> int:
        """What the tables take."""
        return sum(a.nbytes for a in (self.window, self.cosine, self.segments, self.weights, self.log2))


def check(spec: FrontendSpec) -> None:
    """Raise `InputError` for a front end that the C cannot do."""
    if spec.n_fft & (spec.n_fft - 1) or not SHORTEST <= spec.n_fft <= LONGEST:
        raise InputError(
            f"the C front end needs n_fft to be a power of two from {SHORTEST} to {LONGEST}, got {spec.n_fft}: "
            "train with such a front end"
        )
    if not 0.0 <= spec.preemphasis < 1.0:
        raise InputError(f"the C front end needs a pre-emphasis of at least 0 and below 1, got {spec.preemphasis}")


def first_pass(spec: FrontendSpec) -> int:
    """Points of the transforms in the first pass, 4 or 8, so that passes of four make the rest."""
    return 4 if (spec.n_fft // 2).bit_length() % 2 else 8


def passes(spec: FrontendSpec) -> int:
    """Passes after the first, each of which joins four transforms."""
    return ((spec.n_fft // 2 // first_pass(spec)).bit_length() - 1) // 2


def mel_segments(spec: FrontendSpec) -> MelSegments:
    """The mel bank of `FrontendSpec.mel_matrix` as positions of its bins between the triangles' centres."""

    def mel(frequency_hz: Any) -> Any:
        return 1127.0 * np.log1p(np.asarray(frequency_hz, np.float64) / 700.0)

    low, high = mel(spec.fmin_hz), mel(spec.fmax_hz)
    step = (high - low) / (spec.n_mels + 1)
    position = (mel(np.arange(spec.n_fft // 2) * (spec.sample_rate_hz / spec.n_fft)) - low) / step
    used = np.flatnonzero((position >= 0.0) & (position < spec.n_mels + 1))
    segment = position[used].astype(np.intp)
    return MelSegments(
        first_bin=int(used[0]) if len(used) else 0,
        segments=np.searchsorted(segment, np.arange(spec.n_mels + 2)),
        weights=position[used] - segment,
    )


def make_tables(spec: FrontendSpec, fixed: bool) -> Tables:
    """Tables for single precision, or for whole numbers where `fixed`; raises `InputError` (`check`)."""
    check(spec)
    half = spec.window()[: spec.win_length // 2]
    cosine = np.cos(2.0 * np.pi * np.arange(spec.n_fft // 4 + 1) / spec.n_fft)
    cosine[-1] = 0.0
    mel = mel_segments(spec)
    if fixed:
        return Tables(
            spec=spec,
            fixed=True,
            window=_whole(half, _Q31, np.int32),
            cosine=_whole(cosine, _Q31, np.int32),
            first_bin=mel.first_bin,
            segments=mel.segments.astype(np.uint16),
            weights=_whole(mel.weights, 16, np.uint16),
            log2=np.rint(np.log2(1.0 + np.arange(129) / 128.0) * 2**24).astype(np.int32),
        )
    return Tables(
        spec=spec,
        fixed=False,
        # Exact: int16 to [-1, 1), and a half for the transform, which gives twice the spectrum.
        window=half * np.float32(1.0 / 65536.0),
        cosine=cosine.astype(np.float32),
        first_bin=mel.first_bin,
        segments=mel.segments.astype(np.uint16),
        weights=mel.weights.astype(np.float32),
        log2=np.empty(0, np.int32),
    )


def fixed_constants(tables: Tables, input_scale: float, input_zero_point: int) -> dict[str, int]:
    """What the whole-number arithmetic needs to know, as c/ts_frontend_fixed.c and c/ts_frontend.c name it.

    The transform's samples are at most 2^26 where the signal's are 1 and its shift is 1 (`ts_windowed`), and every pass
    divides by 4, so an energy of 1 is 2^(50 - 4 passes + 2 shift). Raises `InputError` for a contract whose numbers do
    not fit.
    """
    spec = tables.spec
    unit = 50 - 4 * passes(spec)
    octaves = math.log2(spec.log_offset) + unit
    if not 0.0 <= octaves <= 61.0:
        raise InputError(
            f"log_offset {spec.log_offset} does not fit the fixed-point front end, expected "
            f"{2.0**-unit:.1e} to {2.0 ** (61 - unit):.1e}: build for a part with an FPU"
        )
    shift = math.floor(octaves) - 31
    steps = 1.0 / (spec.norm_scale * float(np.float32(input_scale)))  # int8 steps in one unit of ln
    bias = steps * spec.norm_shift + input_zero_point
    if steps * math.log(2.0) >= 128.0 or abs(bias) >= 8192.0:
        raise InputError(
            f"an input scale of {input_scale} with norm_scale {spec.norm_scale} and norm_shift {spec.norm_shift} is "
            "too fine for the fixed-point front end, expected under 128 steps an octave: build for a part with an FPU"
        )
    longest = int(np.diff(tables.segments.astype(np.int64)).max(initial=0))
    return {
        "PREEMPHASIS": min(32767, round(spec.preemphasis * 32768)),
        "MAX_SHIFT": min(30, math.floor((61.0 - octaves) / 2)),
        "UNIT": unit,
        # The offset is OFFSET * 2^OFFSET_SHIFT, 32 bits long.
        "OFFSET": min(2**32 - 1, round(spec.log_offset * 2.0 ** (unit - shift))),
        "OFFSET_SHIFT": shift,
        # Two squares of so many bits, times the longest segment's bins, stay below 2^32.
        "BIN_BITS": (31 - longest.bit_length()) // 2,
        "OCTAVE": round(steps * math.log(2.0) * 2**24),
        "BIAS": round(bias * 2**16),
    }


def _whole(values: NDArray[Any], places: int, kind: type[np.integer[Any]]) -> NDArray[Any]:
    """`values` in units of 2^-places; 1 becomes the largest number below."""
    return np.minimum(np.rint(values.astype(np.float64) * 2.0**places), 2.0**places - 1).astype(kind)
