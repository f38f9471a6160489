"""A bundle on a board: parity on the part, latency, and energy when a meter is attached."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...export.verification.golden import load_golden
from ...runtime.bundle import Bundle
from ...runtime.engines.litert import open_engine
from ...runtime.errors import InputError
from ...runtime.int8 import quantize
from .link import Link, open_link
from .session import EnergyMeter, Session, compare, measure_energy, open_session, time_inferences


def run_on_board(
    bundle: Bundle,
    port: str | Link,
    *,
    baud: int = 115200,
    log_mels: NDArray[np.float32] | None = None,
    inputs: int | None = None,
    inferences: int = 20,
    warmup: int = 2,
    timeout_s: float = 60.0,
    meter: EnergyMeter | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Session:
    """Check and time the firmware of `bundle` on the board at `port`.

    Compared are the bundle's golden inputs, and `log_mels` (k, n_mels, n_frames) float32 after them, together at most
    `inputs` when that is given; expected are the bytes of LiteRT's reference kernels. `timeout_s` is for one inference.
    A difference is in the result, not an error. Raises `BoardError`, `UnavailableError` or `InputError`.
    """
    planes = _planes(bundle, log_mels)[:inputs]
    if not len(planes):
        raise InputError(f"{inputs} inputs to compare, expected at least 1")
    engine = open_engine(bundle, kernels="reference")
    reference = np.stack([engine.run_int8(plane[None, :, :, None])[0] for plane in planes])
    link = port if isinstance(port, Link) else open_link(port, baud)
    with link:
        board, identity = open_session(
            link, contract=bundle.frontend.hash(), labels=bundle.labels, input_bytes=planes[0].size
        )
        parity, upload_s = compare(board, planes, reference, timeout_s=timeout_s, progress=progress)
        latency = time_inferences(board, inferences, warmup, timeout_s)
        energy = None if meter is None else measure_energy(board, meter, inferences, timeout_s * inferences)
    return Session(link.name, baud, identity, parity, latency, energy, upload_s)


def _planes(bundle: Bundle, log_mels: NDArray[np.float32] | None) -> NDArray[np.int8]:
    """The int8 inputs (k, n_mels, n_frames) to compare."""
    planes = load_golden(bundle.file("golden.npz")).input
    if planes.dtype != np.int8:
        raise InputError(f"bundle {bundle.path} has golden inputs of {planes.dtype}, expected int8: export it again")
    if log_mels is None:
        return planes
    if log_mels.ndim != 3 or log_mels.shape[1:] != planes.shape[1:]:
        raise InputError(
            f"log-mels have shape {list(log_mels.shape)}, expected [k, {planes.shape[1]}, {planes.shape[2]}]"
        )
    quant = bundle.quantization
    return np.concatenate([planes, quantize(log_mels, quant.input_scale, quant.input_zero_point)])
