"""The front-end contract in batched torch, with the variations that only training sees.

The twin of `tinyscene.runtime.frontend`: the same numbers from the same `FrontendSpec`, on any torch device.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from ..runtime.frontend_spec import FrontendSpec

#: Clips transformed at once on a CPU: their spectra (8 x 64 x 2049 complex64, 8 MB) then stay in its cache.
CPU_CHUNK = 8

#: Mels that share one slice of the spectrum in the banded product.
BAND_MELS = 32


class LogMel(nn.Module):
    """Log-mel of whole clips, with the upper band limit shifted and bands masked when a generator is given.

    `fmax_jitter_hz` shifts the bank's upper limit by up to that much, one draw a batch; `freq_mask` (mels) and
    `time_mask` (frames) are the largest widths of one masked band an item. A masked value is that of a log-mel of 0,
    as in the published recipe.
    """

    window: Tensor

    def __init__(self, spec: FrontendSpec, fmax_jitter_hz: float = 0.0, freq_mask: int = 0, time_mask: int = 0) -> None:
        super().__init__()
        self.spec = spec
        self.fmax_jitter_hz = fmax_jitter_hz
        self.freq_mask = freq_mask
        self.time_mask = time_mask
        self.register_buffer("window", torch.from_numpy(spec.window()), persistent=False)
        self._blocks = _blocks(spec, spec.fmax_hz)

    def forward(self, wave: Tensor, generator: Generator | None = None) -> Tensor:
        """(batch, n_samples) float32 -> (batch, 1, n_mels, n_frames) float32.

        Without `generator` (a CPU one) nothing is varied: that is the contract's log-mel. It stays in float32 under
        automatic mixed precision: spectra span more than half precision holds.
        """
        with torch.autocast(wave.device.type, enabled=False):
            return self._forward(wave, generator)

    def _forward(self, wave: Tensor, generator: Generator | None) -> Tensor:
        blocks = self._blocks
        if generator is not None and self.fmax_jitter_hz:
            shift = self.fmax_jitter_hz * (2.0 * torch.rand((), generator=generator).item() - 1.0)
            blocks = _blocks(self.spec, min(self.spec.fmax_hz + shift, self.spec.sample_rate_hz / 2))
        blocks = [(first, start, bank.to(wave.device)) for first, start, bank in blocks]
        chunk = CPU_CHUNK if wave.device.type == "cpu" else max(1, len(wave))
        n_frames = self.spec.n_frames(wave.shape[1])
        # Behind its window a frame stays zero, chunk after chunk.
        frames = wave.new_zeros(min(chunk, len(wave)), n_frames, self.spec.n_fft)
        log_mel = wave.new_empty(len(wave), 1, self.spec.n_mels, n_frames)
        for part, out in zip(wave.split(chunk), log_mel.split(chunk), strict=True):
            out[:, 0] = self._log_mel(part, blocks, frames[: len(part)]).transpose(1, 2)
        if generator is not None:
            masked_value = self.spec.norm_shift / self.spec.norm_scale
            for axis, width in ((2, self.freq_mask), (3, self.time_mask)):
                if width:
                    log_mel = mask_band(log_mel, axis, width, masked_value, generator)
        return log_mel

    def _log_mel(self, wave: Tensor, blocks: list[tuple[int, int, Tensor]], frames: Tensor) -> Tensor:
        spec = self.spec
        # A centred frame of n_fft samples whose window is shorter: zeros at both sides of the window only turn the
        # phase, so frames of win_length, zero-padded behind by the FFT, have the same power.
        margin = spec.win_length // 2
        padded = wave.new_empty(len(wave), wave.shape[1] - 1 + 2 * margin)
        emphasized = padded[:, margin : padded.shape[1] - margin]
        torch.add(wave[:, 1:], wave[:, :-1], alpha=-spec.preemphasis, out=emphasized)
        padded[:, :margin] = emphasized[:, 1 : margin + 1].flip(1)
        padded[:, padded.shape[1] - margin :] = emphasized[:, -margin - 1 : -1].flip(1)
        torch.mul(padded.unfold(1, spec.win_length, spec.hop_length), self.window, out=frames[..., : spec.win_length])
        # Real and imaginary parts squared, side by side: their sum is left to the product with the mel bank.
        squares = torch.view_as_real(torch.fft.rfft(frames)).square_().flatten(2)
        mel = squares.new_empty(*squares.shape[:2], spec.n_mels)
        for first, start, bank in blocks:
            mel[..., first : first + bank.shape[1]] = squares[..., 2 * start : 2 * start + bank.shape[0]] @ bank
        return mel.add_(spec.log_offset).log_().add_(spec.norm_shift).div_(spec.norm_scale)


def mask_band(x: Tensor, axis: int, max_width: int, value: float, generator: Generator) -> Tensor:
    """Set one random band along `axis` of each item to `value`; (batch, ...) -> the same shape.

    The width is uniform in [0, max_width), the place uniform among those that fit (SpecAugment, arXiv 1904.08779).
    """
    size = x.shape[axis]
    draws = torch.rand(2, len(x), generator=generator)
    width = (draws[0] * min(max_width, size)).floor()
    first = (draws[1] * (size - width + 1)).floor()
    position = torch.arange(size)
    masked = (position >= first[:, None]) & (position < (first + width)[:, None])
    shape = [len(x)] + [size if i == axis else 1 for i in range(1, x.dim())]
    return x.masked_fill(masked.view(shape).to(x.device), value)


def _blocks(spec: FrontendSpec, fmax_hz: float) -> list[tuple[int, int, Tensor]]:
    """The mel matrix as (first mel, first bin, (2 * bins, mels) float32) blocks, each bin's row there twice.

    Products of 32 mels with the bins they touch do an eighth of the dense product's work.
    """
    blocks = spec.mel_blocks(BAND_MELS, fmax_hz=fmax_hz)
    return [(first, start, torch.from_numpy(bank.T.repeat(2, axis=0))) for first, start, bank in blocks]
