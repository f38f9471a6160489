"""Log-mel features in numpy: each frame is computed once, and any chunking of the input gives the same frames.

Only the samples under the window are needed: torch and librosa place a window of `win_length` in the middle of `n_fft`
zeros, and where those zeros stand turns the phase of a bin, never its power. So frame k is a function of the
pre-emphasised samples k * hop - win/2 ... k * hop + win/2 - 1, and a stream is win/2 samples behind its input.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .frontend_spec import FrontendSpec

#: numpy before 2.0 transforms in float64 only and takes no `out`.
_FFT_WRITES_FLOAT32 = int(np.__version__.partition(".")[0]) >= 2

#: Samples taken in at once; bounds the memory of a stream that is handed a whole file.
_BLOCK = 8192


def log_mel(wave: NDArray[np.float32], spec: FrontendSpec) -> NDArray[np.float32]:
    """Log-mel of a whole clip, normalised as `spec` says.

    `wave` is float (n_samples,) in [-1, 1] at `spec.sample_rate_hz`; returns float32 (n_mels, n_frames(n_samples)).
    Both ends are padded by reflection, as `torch.stft(center=True)` does. Raises `InputError` for a clip that is too
    short to reflect.
    """
    stream = StreamingLogMel(spec)
    return np.concatenate([stream.push(wave), stream.flush()], axis=1)


class StreamingLogMel:
    """Log-mel of a stream: `push` returns the frames that became complete, `flush` those that reach past the end.

    The frames are bit for bit those of `log_mel` on the whole signal, however it was cut into chunks: every frame is
    computed by the same code on the same samples, one at a time.
    """

    def __init__(self, spec: FrontendSpec) -> None:
        self.spec = spec
        self._mel = _MelFrame(spec)
        self._half = spec.win_length // 2
        # In float32 the product is rounded before the difference is, for one sample as for a block of them.
        self._weight = np.float32(spec.preemphasis)
        # What has to be kept for the next frame is at most one window.
        self._signal = np.empty(spec.win_length + _BLOCK, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget the clip so far; the next sample pushed is the first of a new one."""
        # `_signal[:_stop]` holds the padded, pre-emphasised signal from position `_origin` on. The first `half` places
        # are the reflected left edge, filled in once there is something to reflect.
        self._stop = self._half
        self._origin = 0
        self._frame = 0
        self._last: np.float32 | None = None
        self._primed = False

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take in samples, float (n,) with n >= 0, and return the frames they complete, float32 (n_mels, k)."""
        complete: list[NDArray[np.float32]] = []
        self.push_into(samples, self._appended_to(complete))
        return self._stack(complete)

    def flush(self) -> NDArray[np.float32]:
        """End the clip: return its last frames, float32 (n_mels, k), over a reflected edge, and start a new clip.

        Raises `InputError` when the clip was too short to reflect (under half a window).
        """
        complete: list[NDArray[np.float32]] = []
        self.flush_into(self._appended_to(complete))
        return self._stack(complete)

    def push_into(self, samples: NDArray[np.float32], place: Callable[[int], NDArray[np.float32]]) -> int:
        """As `push`, with each frame computed where it is kept; returns how many there are.

        `place(k)`, called for every `_BLOCK` samples that complete frames, gives the room for the next k frames,
        float32 (k, n_mels).
        """
        samples = _checked(samples)
        first = self._frame
        for start in range(0, len(samples), _BLOCK):
            self._take_in(samples[start : start + _BLOCK])
            if self._primed:
                self._emit(place, self._frames_until(self._origin + self._stop))
        return self._frame - first

    def flush_into(self, place: Callable[[int], NDArray[np.float32]]) -> int:
        """As `flush`, with each frame computed where it is kept; returns how many there are."""
        half, length = self._half, self._origin + self._stop - self._half
        if not self._primed:
            received = 0 if self._last is None else length + 1
            self.reset()
            raise InputError(f"a clip of {received} samples is too short: the front end needs at least {half + 2}")
        until = 1 + length // self.spec.hop_length
        count = max(0, until - self._frame)
        if count:
            # Past the end come y[m-2], y[m-3], ... y[m-1-half], all of them still in the buffer: the next frame is
            # centred on y[m] at most, and what is kept begins one sample before its window.
            signal, stop = self._signal, self._stop
            self._signal = np.concatenate([signal[:stop], signal[stop - 1 - half : stop - 1][::-1]])
            self._emit(place, until)
            self._signal = signal
        self.reset()
        return count

    def skip_silence(self, frames: int) -> None:
        """Go on as if so many frames' worth of zeros had been pushed, without computing their frames.

        Only where the last `win_length` + `hop_length` samples pushed were zeros: then what is kept stays as it is.
        """
        self._frame += frames
        self._origin += frames * self.spec.hop_length

    def _take_in(self, samples: NDArray[np.float32]) -> None:
        """Append the pre-emphasis of `samples`: y[n] = x[n+1] - preemphasis * x[n]."""
        if self._stop + len(samples) > len(self._signal):
            self._drop_used()
        weight, start = self._weight, self._stop
        if self._last is not None:
            self._signal[start] = samples[0] - weight * self._last
            start += 1
        stop = start + len(samples) - 1
        target = self._signal[start:stop]
        np.multiply(samples[:-1], weight, target)
        np.subtract(samples[1:], target, target)
        self._stop = stop
        self._last = samples[-1]
        if not self._primed and self._stop > 2 * self._half:
            self._signal[: self._half] = self._signal[2 * self._half : self._half : -1]
            self._primed = True

    def _drop_used(self) -> None:
        """Move what the next frames still need to the front of the buffer."""
        used = min(self._frame * self.spec.hop_length - 1 - self._origin, self._stop)
        if used > 0:
            self._signal[: self._stop - used] = self._signal[used : self._stop].copy()
            self._stop -= used
            self._origin += used

    def _frames_until(self, position: int) -> int:
        """Frames whose last sample lies before `position` of the padded signal."""
        return max(0, (position - self.spec.win_length) // self.spec.hop_length + 1)

    def _emit(self, place: Callable[[int], NDArray[np.float32]], until: int) -> None:
        """Compute the frames from the next one up to `until`, as rows (k, n_mels)."""
        if until <= self._frame:
            return
        for row in place(until - self._frame):
            start = self._frame * self.spec.hop_length - self._origin
            self._mel(self._signal[start : start + self.spec.win_length], row)
            self._frame += 1

    def _appended_to(self, complete: list[NDArray[np.float32]]) -> Callable[[int], NDArray[np.float32]]:
        def place(count: int) -> NDArray[np.float32]:
            complete.append(np.empty((count, self.spec.n_mels), np.float32))
            return complete[-1]

        return place

    def _stack(self, complete: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        if not complete:
            return np.empty((self.spec.n_mels, 0), np.float32)
        rows = complete[0] if len(complete) == 1 else np.concatenate(complete)
        return np.ascontiguousarray(rows.T)


class _Bank(NamedTuple):
    """The window and the mel bank in compressed sparse rows: of the student's 256 x 2049 weights 3,940 are not zero."""

    window: NDArray[np.float32]  # (win_length,)
    bin: NDArray[np.intp]  # (n_weights,) column of each weight, row after row
    weight: NDArray[np.float32]  # (n_weights,)
    first: NDArray[np.intp]  # (n_mels,) where each row begins
    empty: NDArray[np.bool_] | None  # (n_mels,) rows without a weight, or None when there are none


@lru_cache(maxsize=8)
def _bank(spec: FrontendSpec) -> _Bank:
    matrix = spec.mel_matrix()
    row, column = np.nonzero(matrix)
    counts = np.bincount(row, minlength=spec.n_mels)
    return _Bank(
        # With norm="forward" numpy divides by n_fft and, other than without, transforms in float32 throughout: a third
        # faster. The window makes up for the division, exactly where n_fft is a power of two.
        window=spec.window() * np.float32(spec.n_fft),
        bin=column.astype(np.intp),
        weight=matrix[row, column],
        first=np.searchsorted(row, np.arange(spec.n_mels)).astype(np.intp),
        empty=None if counts.all() else counts == 0,
    )


class _MelFrame:
    """One frame: window, power spectrum, sparse mel bank, logarithm, normalisation, in buffers made once."""

    def __init__(self, spec: FrontendSpec) -> None:
        bins = spec.n_fft // 2 + 1
        self._bank = _bank(spec)
        self._padded = np.zeros(spec.n_fft, np.float32)
        self._windowed = self._padded[: spec.win_length]
        self._spectrum = np.empty(bins, np.complex64)
        self._parts = self._spectrum.view(np.float32)
        self._squares = np.empty(2 * bins, np.float32)
        self._real, self._imaginary = self._squares[::2], self._squares[1::2]
        self._power = np.empty(bins, np.float32)
        # One place more than there are weights, so that an empty last row has somewhere to start.
        self._summands = np.zeros(len(self._bank.weight) + 1, np.float32)
        self._products = self._summands[:-1]
        self._offset, self._shift = np.float32(spec.log_offset), np.float32(spec.norm_shift)
        self._scale = np.float32(spec.norm_scale)

    def __call__(self, samples: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Write the normalised log-mel (n_mels,) of `samples` (win_length,) to `out`."""
        bank = self._bank
        np.multiply(samples, bank.window, self._windowed)
        if _FFT_WRITES_FLOAT32:
            # numpy's stubs know complex128 only.
            np.fft.rfft(self._padded, norm="forward", out=self._spectrum)  # type: ignore[arg-type]
        else:
            self._spectrum[:] = np.fft.rfft(self._padded, norm="forward")
        np.multiply(self._parts, self._parts, self._squares)
        np.add(self._real, self._imaginary, self._power)
        # mode="clip" lets take write to `out` unbuffered; every index is in range.
        self._power.take(bank.bin, out=self._products, mode="clip")
        np.multiply(self._products, bank.weight, self._products)
        np.add.reduceat(self._summands, bank.first, out=out)
        if bank.empty is not None:
            out[bank.empty] = 0.0  # for an empty row, reduceat gives the next row's first product
        np.add(out, self._offset, out)
        np.log(out, out)
        np.add(out, self._shift, out)
        np.divide(out, self._scale, out)


def _checked(samples: Any) -> NDArray[np.float32]:
    if type(samples) is np.ndarray and samples.dtype == np.float32 and samples.ndim == 1:
        return samples
    array = np.asarray(samples)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"the front end takes floating-point samples of shape (n,) in [-1, 1], got {array.dtype} {array.shape}"
        )
    return array.astype(np.float32, copy=False)
