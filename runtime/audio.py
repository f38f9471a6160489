"""Audio files of any rate and channel count as blocks of mono float32 at the rate that is asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from .errors import InputError, UnavailableError

#: A recorder that cannot seek back leaves one of these as the length of a WAV's data.
_OPEN_ENDED = (0, 0x7FFFFFFF, 0xFFFFFFFF)


class Resampler:
    """Streaming mono resampler (soxr, high quality): any chunking gives what one call would; equal rates pass through.

    A chunk's output comes up to 20 ms late; `resample(..., last=True)` returns the rest.
    """

    def __init__(self, from_rate_hz: int, to_rate_hz: int) -> None:
        """Raises `InputError` for a rate that cannot be, `UnavailableError` without soxr."""
        for rate in (from_rate_hz, to_rate_hz):
            if rate <= 0:
                raise InputError(f"sample rate is {rate}, expected a positive number of hertz")
        self._stream = None
        if from_rate_hz != to_rate_hz:
            self._stream = _soxr().ResampleStream(from_rate_hz, to_rate_hz, 1, dtype="float32", quality="HQ")

    def resample(self, samples: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        """Take in float32 (n,) and return what is ready of the output, float32 (m,)."""
        if self._stream is None:
            return samples
        resampled: NDArray[np.float32] = self._stream.resample_chunk(samples, last=last)
        return resampled


def _soxr() -> Any:
    """soxr, which a 32-bit Raspberry Pi may lack: audio that is at the right rate already does without."""
    try:
        import soxr
    except ImportError as error:
        raise UnavailableError(f"resampling needs soxr ({error}): run `pip install soxr`") from error
    return soxr


def read_blocks(path: Path, sample_rate_hz: int, block_s: float = 1.0) -> Iterator[NDArray[np.float32]]:
    """Decode the file at `path` block by block: float32 (n,) mono at `sample_rate_hz`, about `block_s` s each.

    Channels are averaged before resampling. WAV, FLAC, Ogg and whatever else libsndfile reads. Raises `InputError` that
    names the file when it is missing, not audio, empty, cut short, damaged, or holds NaN or infinite samples; a damaged
    file may give some blocks first.
    """
    source = AudioFile(path)
    resampler = Resampler(source.sample_rate_hz, sample_rate_hz)
    for block in source.blocks(block_s):
        resampled = resampler.resample(block)
        if len(resampled):
            yield resampled
    rest = resampler.resample(np.empty(0, np.float32), last=True)
    if len(rest):
        yield rest


def read_mono(path: Path, sample_rate_hz: int) -> NDArray[np.float32]:
    """The whole file at `path`, float32 (n,) mono at `sample_rate_hz`; raises as `read_blocks` does."""
    return np.concatenate([np.empty(0, np.float32), *read_blocks(path, sample_rate_hz, block_s=10.0)])


class AudioFile:
    """An audio file that has been opened and looked at: its rate, channels and length, and its samples in blocks."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path` and read its header; raises `InputError` when that is not possible."""
        self.path = path
        with self._open() as file:
            self.sample_rate_hz = int(file.samplerate)
            self.channels = int(file.channels)
            self.frames = int(file.frames)
            self._check_complete(file)

    def blocks(self, block_s: float) -> Iterator[NDArray[np.float32]]:
        """The samples at the file's own rate, channels averaged: float32 (n,) blocks of `block_s` s, the last shorter.

        Raises `InputError` when the file is damaged or ends early.
        """
        size = max(1, round(block_s * self.sample_rate_hz))
        read = 0
        with self._open() as file:
            while read < self.frames:
                try:
                    block = file.read(size, dtype="float32", always_2d=True)
                except soundfile.LibsndfileError as error:
                    raise self._error(f"is damaged after {self._seconds(read)} ({_reason(error)})") from error
                if not len(block):
                    raise self._error(f"ends after {self._seconds(read)} of {self._seconds(self.frames)}")
                read += len(block)
                mono = block[:, 0] if self.channels == 1 else block.mean(axis=1, dtype=np.float32)
                if not np.isfinite(mono).all():
                    raise self._error(f"holds samples that are not finite, before {self._seconds(read)}")
                yield np.ascontiguousarray(mono)

    def _open(self) -> soundfile.SoundFile:
        if not self.path.exists():
            raise InputError(f"no audio file at {self.path}: check the path")
        if not self.path.is_file():
            raise InputError(f"{self.path} is not an audio file but a folder or device")
        try:
            return soundfile.SoundFile(os.fspath(self.path))
        except (soundfile.LibsndfileError, TypeError) as error:
            # A TypeError: soundfile takes the ending .raw for headerless samples and asks for their rate.
            if not os.access(self.path, os.R_OK):
                raise self._error("cannot be read: you have no permission") from error
            raise self._error(f"is not audio, or is damaged at its start ({_reason(error)})") from error

    def _check_complete(self, file: soundfile.SoundFile) -> None:
        """libsndfile quietly shortens a WAV that was cut off and an Ogg stream without its last page."""
        declared = re.search(r"^ *data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
        if declared and int(declared[1]) > int(declared[2]) and int(declared[1]) not in _OPEN_ENDED:
            raise self._error(f"is cut short: it declares {declared[1]} bytes of samples and holds {declared[2]}")
        if file.format == "OGG" and not _ogg_is_closed(self.path):
            raise self._error("is cut short: its last Ogg page is missing")
        if self.frames <= 0:
            raise self._error("holds no samples")

    def _error(self, what: str) -> InputError:
        return InputError(f"{self.path} {what}: replace the file, or remove it from the list")

    def _seconds(self, frames: int) -> str:
        return f"{frames / self.sample_rate_hz:.2f} s"


def _ogg_is_closed(path: Path) -> bool:
    """Whether the last Ogg page is whole and ends the stream.

    RFC 3533: byte 5 of a page's header holds the flags, 4 for the end of the stream; byte 26 counts the segments whose
    lengths follow, a byte each.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 70_000))  # a page is at most 65,307 bytes
        tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if len(page) < 27 or not page[5] & 4:
        return False
    body = 27 + page[26]
    return len(page) >= body + sum(page[27:body])


def _reason(error: Exception) -> str:
    """What libsndfile says, without the file's name (our message has it) and its full stop."""
    text = getattr(error, "error_string", None) or str(error)
    return str(text).removeprefix("Error : ").strip().rstrip(".").lower()
