"""What findings mean, in words that help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .findings import SILENCE_DBFS, Findings

Severity = Literal["bad", "note"]

#: Under this a quiet room is lost in what the converter adds by itself.
QUIET_DBFS = -70.0

#: Two channels that differ by more: one of them is not connected.
DEAD_DB = 30.0

#: The mean spectra of two different scenes are some 5 to 10 dB apart; more is the microphone.
FAR_DB = 12.0


@dataclass(frozen=True)
class Advice:
    """One thing to know: "bad" spoils decisions, a "note" may."""

    severity: Severity
    text: str


def advise(found: Findings, needed_hz: float) -> list[Advice]:
    """What to do about `found`, the worst first; `needed_hz` is how far up the network listens."""
    bad: list[str] = []
    notes: list[str] = []
    loudest, quietest = max(found.level_dbfs), min(found.level_dbfs)
    if loudest <= SILENCE_DBFS:
        bad.append("only digital silence: the input is muted, or it is the wrong one (`tinyscene devices`)")
    elif loudest < QUIET_DBFS:
        bad.append(f"very quiet ({loudest:.0f} dBFS): raise the capture level (`alsamixer`, F4)")
    if found.clipped_share > 1e-3:
        bad.append(f"{100 * found.clipped_share:.1f} % of the samples are clipped: lower the capture level")
    elif found.clipped_share > 0:
        notes.append("some samples are clipped: lower the capture level a little")
    if found.lost_s > 0 or found.dropouts:
        bad.append(
            f"{found.lost_s:.2f} s were lost and {found.dropouts} holes of zeros heard: another USB port, a powered "
            "hub, or fewer programs beside it"
        )
    if found.bandwidth_hz < 0.8 * min(needed_hz, found.sample_rate_hz / 2):
        bad.append(
            f"nothing is heard above {found.bandwidth_hz / 1000:.1f} kHz, the network listens up to "
            f"{needed_hz / 1000:.1f} kHz: a headset in telephone mode, or a 16-kHz microphone that calls itself "
            f"{found.sample_rate_hz / 1000:g} kHz; noise suppression does it too"
        )
    elif found.sample_rate_hz / 2 < 0.95 * needed_hz:
        notes.append(f"recorded at {found.sample_rate_hz} Hz: nothing above {found.sample_rate_hz / 2000:.1f} kHz")
    if found.correlation is not None and found.correlation < -0.8:
        bad.append("one of the two channels is inverted: their mean is nearly silent; record one of them")
    elif found.channels == 2 and loudest - quietest > DEAD_DB and loudest > SILENCE_DBFS:
        notes.append(f"one of the two channels is dead ({quietest:.0f} dBFS): the mean of both is 6 dB too quiet")
    if abs(found.dc_offset) > 0.02:
        notes.append(
            f"constant offset of {100 * found.dc_offset:.1f} % of full scale: harmless here, a sign of a cheap input"
        )
    if found.hum_hz is not None and found.hum_share > 0.1:
        notes.append(
            f"{100 * found.hum_share:.0f} % of the power is hum of the mains ({found.hum_hz:.0f} Hz): another power "
            "supply, or a shorter cable"
        )
    if found.spectrum_distance_db is not None and found.spectrum_distance_db > FAR_DB:
        notes.append(
            f"the spectrum is {found.spectrum_distance_db:.0f} dB from that of the network's own clips: expect more "
            "mistakes, or train with recordings of this microphone"
        )
    return [*(Advice("bad", text) for text in bad), *(Advice("note", text) for text in notes)]
