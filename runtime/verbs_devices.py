"""The verbs `devices` and `doctor`. Nothing heavy is imported before they run."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import Verb
from .errors import InputError
from .output import Output
from .sources.options import add_source_arguments, open_source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def _devices_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def _devices(arguments: argparse.Namespace, output: Output) -> int:
    from .errors import UnavailableError
    from .sources.recorder import input_devices

    devices = input_devices()
    if not devices:
        raise UnavailableError("this machine has no audio input: plug in a microphone, or listen to --source FILE")
    for device in devices:
        text = f"{device.index:3}  {device.name}  ({device.host_api}, {device.channels} ch, {device.sample_rate_hz} Hz)"
        output.record("tinyscene.device/1", text + ("  default" if device.is_default else ""), **vars(device))
    return 0


DEVICES = Verb(
    help="list the microphones that `listen --device` takes",
    example="tinyscene devices",
    add_arguments=_devices_arguments,
    run=_devices,
)


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle", nargs="?", type=Path, help="bundle to compare with (default: the one that `listen` takes)"
    )
    add_source_arguments(parser)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to listen, at least 1")


def _doctor(arguments: argparse.Namespace, output: Output) -> int:
    from dataclasses import asdict, replace

    import numpy as np

    from .bundle import load_bundle
    from .default_bundle import DEFAULT_BUNDLE
    from .doctor.advice import advise
    from .doctor.findings import examine, spectrum_against
    from .frontend_spec import STUDENT

    if not (math.isfinite(arguments.seconds) and 1.0 <= arguments.seconds <= 600.0):
        raise InputError(f"listening for {arguments.seconds} s, expected 1 to 600: set --seconds")
    path = arguments.bundle or (DEFAULT_BUNDLE if DEFAULT_BUNDLE.is_dir() else None)
    bundle = None if path is None else load_bundle(path)
    spec = STUDENT if bundle is None else bundle.frontend
    samples, rate_hz, lost, name = _record(arguments, spec.sample_rate_hz, output)
    found = examine(samples, rate_hz, lost)
    if bundle is not None and "golden.npz" in bundle.files and found.seconds >= spec.clip_samples / spec.sample_rate_hz:
        with np.load(bundle.file("golden.npz"), allow_pickle=False) as golden:
            distance, loudness = spectrum_against(samples, rate_hz, spec, golden["log_mel"])
        found = replace(found, spectrum_distance_db=distance, loudness_difference_db=loudness)
    advice = advise(found, spec.fmax_hz)
    lines = [
        f"{name}: {found.seconds:.1f} s at {rate_hz} Hz, {found.channels} channel(s)",
        f"  level        {', '.join(f'{level:.1f}' for level in found.level_dbfs)} dBFS, peak {found.peak_dbfs:.1f}",
        f"  noise floor  {found.noise_floor_dbfs:.1f} dBFS",
        f"  bandwidth    {found.bandwidth_hz / 1000:.1f} kHz",
        f"  clipped      {100 * found.clipped_share:.2f} % of the samples",
        f"  lost         {found.lost_s:.3f} s, {found.dropouts} holes of zeros",
        f"  offset       {100 * found.dc_offset:.2f} % of full scale",
        f"  hum          {'none' if found.hum_hz is None else f'{found.hum_hz:.0f} Hz, {100 * found.hum_share:.1f} %'}",
    ]
    if found.correlation is not None:
        lines.append(f"  channels     correlation {found.correlation:.2f}")
    if found.spectrum_distance_db is not None:
        lines.append(
            f"  spectrum     {found.spectrum_distance_db:.1f} dB from the network's own clips, "
            f"{found.loudness_difference_db:+.1f} dB in loudness"
        )
    lines += ["", *(f"{item.severity:4}  {item.text}" for item in advice)]
    if not advice:
        lines.append("nothing to complain about")
    output.record(
        "tinyscene.doctor/1", "\n".join(lines), source=name, **asdict(found), advice=[vars(item) for item in advice]
    )
    return 1 if any(item.severity == "bad" for item in advice) else 0


def _record(arguments: argparse.Namespace, rate_hz: int, output: Output) -> tuple[NDArray[np.float32], int, int, str]:
    """Some seconds of the source, channels apart where it has any: float32 (n, channels), rate, lost samples, name."""
    from contextlib import closing

    import numpy as np

    source = open_source(arguments, rate_hz, output.log)
    apart: list[NDArray[np.float32]] = []
    together: list[NDArray[np.float32]] = []
    if hasattr(source, "on_frames"):
        source.on_frames = lambda frames: apart.append(frames.copy())
    wanted, got, dropped = round(arguments.seconds * source.sample_rate_hz), 0, 0
    with closing(source.blocks()) as blocks:
        for block in blocks:
            together.append(block.samples[:, None])
            got, dropped = got + len(block.samples), block.dropped
            if got + dropped >= wanted:
                break
    heard = apart or together
    samples = np.concatenate(heard) if heard else np.empty((0, 1), np.float32)
    return samples, source.sample_rate_hz, dropped, source.name


DOCTOR = Verb(
    help="listen for some seconds and say whether the microphone is fit for it; exit code 1 if not",
    example="tinyscene doctor build/bundle --device usb --seconds 10",
    add_arguments=_doctor_arguments,
    run=_doctor,
)
