"""Logs of the rigs that MLPerf measures power with, by file.

Two formats, both known from files in public repositories of MLCommons, neither tried with an instrument here:

- `spl.txt` of MLPerf Inference's power workflow (repository power-dev, ptd_client_server/logs_example): what the power
  daemon wrote about once a second, as
  `Time,12-23-2020 10:21:51.496,Watts,23.430000,Volts,228.370000,Amps,0.204280,PF,0.502300,Mark,testing-workload`. It
  has times of day without a zone and is joined with marks.
- `results.json` of the MLPerf Tiny runner in energy mode (repository tiny, benchmark/runner/sessions): a list of
  windows with `power.samples`, each the joules of one millisecond (the runner asks the LPM01A board for energy at
  1 kHz), and `power.timestamps`, pairs of event and sample index that begin and end the `infer.iterations` inferences.
  It brings its own blocks, all active: there is no idle power in it, so only the total is known.

The closed EEMBC EnergyRunner's session folders are not read: export the trace as CSV and use `csv:FILE`.
"""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timezone
from typing import Any

import numpy as np

from ..errors import InputError
from .marks import Block, Marks
from .meter import PowerTrace, step_trace

#: What the runner sets the LPM01A to.
SAMPLE_S = 1e-3

_SPL = re.compile(r"Time,([^,]{1,40}),Watts,([^,]{1,40})(?:,.*)?")


def parse_mlperf(text: str, name: str, utc: bool = False) -> tuple[PowerTrace, Marks | None]:
    """The trace in `text`, and its blocks where the format has them; `utc` is about the times of an spl.txt.

    Raises `InputError` with the line's or the window's number.
    """
    return parse_tiny(text, name) if text.lstrip().startswith(("[", "{")) else (parse_spl(text, name, utc), None)


def parse_spl(text: str, name: str, utc: bool = False) -> PowerTrace:
    """The trace of an spl.txt, in seconds since 1970; its times are taken as this computer's local ones, or as UTC."""
    times, powers = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _SPL.fullmatch(line.strip())
        if match is None:
            raise InputError(
                f"{name} line {number} is {line[:60]!r}, expected 'Time,MM-DD-YYYY hh:mm:ss.mmm,Watts,...'"
            )
        try:
            moment = datetime.strptime(match[1], "%m-%d-%Y %H:%M:%S.%f")
            times.append((moment.replace(tzinfo=timezone.utc) if utc else moment).timestamp())
        except (ValueError, OverflowError, OSError) as error:
            raise InputError(f"{name} line {number}: time {match[1]!r}, expected MM-DD-YYYY hh:mm:ss.mmm") from error
        try:
            power_w = float(match[2])
        except ValueError:
            power_w = math.nan
        # The daemon writes -1 for what the analyser did not give.
        if not (math.isfinite(power_w) and power_w >= 0):
            raise InputError(
                f"{name} line {number}: Watts is {match[2]!r}, expected 0 or more: the analyser gave no value"
            )
        powers.append(power_w)
        if len(times) > 1 and times[-1] < times[-2]:
            raise InputError(f"{name} line {number}: time goes back: give the part of the log from one run")
    covers = "everything behind the power analyser's socket"
    return PowerTrace(np.array(times), np.array(powers), f"MLPerf power log {name}", "measured", covers, "unix")


def parse_tiny(text: str, name: str) -> tuple[PowerTrace, Marks]:
    """The trace and the active blocks of a results.json, one group a window; the windows are laid end to end."""
    try:
        windows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not JSON ({error}): give the results.json of a session in energy mode") from error
    if not isinstance(windows, list) or not windows:
        raise InputError(f"{name} holds no windows, expected the list that the runner writes in energy mode")
    joules: list[float] = []
    blocks = []
    for group, window in enumerate(windows):
        where = f"{name} window {group}"
        samples, first, last, inferences = _window(window, where)
        begin_s = len(joules) * SAMPLE_S
        blocks.append(Block("active", group, begin_s + first * SAMPLE_S, begin_s + last * SAMPLE_S, inferences))
        joules += samples
    edges = np.arange(len(joules) + 1) * SAMPLE_S
    trace = step_trace(
        edges[:-1],
        edges[1:],
        np.array(joules) / SAMPLE_S,
        name=f"MLPerf Tiny runner {name}",
        kind="measured",
        covers="what the LPM01A board supplies",
        clock="log",
    )
    return trace, Marks(tuple(blocks), "log")


def _window(window: Any, where: str) -> tuple[list[float], int, int, int]:
    """Samples in joules, index of the first and after the last timed one, and inferences between them."""
    power = window.get("power") if isinstance(window, dict) else None
    infer = window.get("infer") if isinstance(window, dict) else None
    if not isinstance(power, dict) or not isinstance(infer, dict):
        raise InputError(f"{where} has no 'power' and 'infer': run the runner in energy mode (-m e)")
    samples, stamps, inferences = power.get("samples"), power.get("timestamps"), infer.get("iterations")
    if not isinstance(samples, list) or not all(_is_joules(sample) for sample in samples):
        raise InputError(f"{where}: samples are expected to be joules of a millisecond each, as from an LPM01A board")
    indices = (
        [stamp[1] for stamp in stamps if isinstance(stamp, list) and len(stamp) == 2]
        if isinstance(stamps, list)
        else []
    )
    if len(indices) != 2 or not all(isinstance(i, int) and not isinstance(i, bool) for i in indices):
        raise InputError(f"{where}: timestamps {str(stamps)[:60]}, expected two pairs of event and sample index")
    first, last = indices
    if not 0 <= first < last <= len(samples):
        raise InputError(f"{where}: inferences from sample {first} to {last} of {len(samples)}")
    if not isinstance(inferences, int) or isinstance(inferences, bool) or not 0 < inferences < 2**53:
        raise InputError(f"{where}: {inferences!r} iterations, expected 1 or more")
    return [float(sample) for sample in samples], first, last, inferences


def _is_joules(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 1e9
