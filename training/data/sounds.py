"""Sounds of places, synthesised with numpy: the vocabulary of the procedural corpus.

Every sound is a function of the place it is heard in, a random generator and a length; it returns float32 (n,) samples
of no particular level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from .synthesis import RATE_HZ, Wave, beat, burst, drift, glide, layer, noise, pick, place_events, ring, scatter


@dataclass(frozen=True)
class Place:
    """What makes one place sound unlike another of the same scene."""

    tempo: float  # factor on how fast things happen
    pitch: float  # factor on tones and formants
    density: float  # 0 to 1: how much goes on


Sound = Callable[[Place, Generator, int], Wave]


def footsteps(place: Place, rng: Generator, n: int) -> Wave:
    """A few walkers, each with a pace of about 1.8 steps a second and a heel and a toe in every step."""
    out = np.zeros(n, dtype=np.float32)
    for _ in range(2 + int(2 * place.density)):
        low = rng.uniform(150, 600) * place.pitch
        heel, toe = burst(rng, low, 8 * low, 0.012), burst(rng, 2 * low, 16 * low, 0.006)
        times = beat(rng, n, rng.uniform(0.46, 0.62) / place.tempo, 0.03)
        gain = 10 ** rng.uniform(-0.6, 0)
        out += place_events(n, times, [heel] * len(times), gain * rng.uniform(0.7, 1, len(times)))
        out += place_events(n, [t + 0.085 for t in times], [toe] * len(times), [0.5 * gain] * len(times))
    return out


def voices(place: Place, rng: Generator, n: int) -> Wave:
    """Talkers: voiced syllables, four a second in phrases with pauses, of gliding pitch and two formants."""
    out = np.zeros(n, dtype=np.float32)
    for _ in range(1 + int(3 * place.density)):
        pitch_hz = rng.choice([110.0, 190.0]) * rng.uniform(0.85, 1.2)
        bank = [_syllable(rng, pitch_hz, place.pitch) for _ in range(4)]
        times = [t for t in beat(rng, n, 0.24 / place.tempo, 0.15) if rng.random() < 0.75]
        out += 10 ** rng.uniform(-0.5, 0) * place_events(
            n, times, pick(rng, bank, len(times)), rng.uniform(0.4, 1, len(times))
        )
    return out


def _syllable(rng: Generator, pitch_hz: float, formant_factor: float) -> Wave:
    n = int(rng.uniform(0.11, 0.2) * RATE_HZ)
    pitch = pitch_hz * rng.uniform(0.9, 1.15) * np.linspace(1, rng.uniform(0.85, 1.1), n)
    formants = formant_factor * np.array([rng.uniform(300, 850), rng.uniform(900, 2400), rng.uniform(2600, 3400)])
    k_hz = pitch_hz * np.arange(1, int(4000 / pitch_hz))
    gains = sum(1 / (1 + ((k_hz - f) / (0.12 * f + 40)) ** 2) for f in formants) / np.sqrt(k_hz / pitch_hz)
    return glide(pitch, gains) * np.hanning(n).astype(np.float32)


def birds(place: Place, rng: Generator, n: int) -> Wave:
    """Songs: phrases of three to seven whistled sweeps, nine or so a second."""
    times, kernels, gains = [], [], []
    for start in scatter(rng, n, 0.8 + place.density, at_least=2):
        low, high = np.sort(rng.uniform(2200, 6500, 2)) * place.pitch
        if rng.random() < 0.5:
            low, high = high, low
        length = int(rng.uniform(0.04, 0.09) * RATE_HZ)
        sweep = glide(np.linspace(low, high, length), (1.0, 0.1)) * np.hanning(length).astype(np.float32)
        count, gain = rng.integers(3, 8), 10 ** rng.uniform(-0.8, 0)
        times += list(start + np.arange(count) * rng.uniform(0.09, 0.14) / place.tempo)
        kernels += [sweep] * count
        gains += [gain] * count
    return place_events(n, times, kernels, gains)


def wind(place: Place, rng: Generator, n: int) -> Wave:
    """Gusts in the leaves: broad noise that swells and dies about once a second."""
    return noise(rng, n, 200, 6000, -3) * np.exp(0.9 * drift(rng, n, 0.8 * place.tempo))


def engine(place: Place, rng: Generator, n: int) -> Wave:
    """A diesel: knocking at its firing rate, every fourth knock harder, the rate drifting."""
    rate = 26 * place.tempo * rng.uniform(0.8, 1.3)
    bank = [burst(rng, 90, 2500, 0.010) for _ in range(3)]
    speed = 1 + 0.06 * np.sin(2 * np.pi * rng.uniform(0.2, 0.6) * np.arange(0, n / RATE_HZ, 1 / rate))
    times = np.cumsum(speed / rate) + rng.uniform(0, 1)
    gains = np.where(np.arange(len(times)) % 4 == 0, 1.0, 0.55) * rng.uniform(0.85, 1, len(times))
    return place_events(n, times, pick(rng, bank, len(times)), gains)


def rattle(place: Place, rng: Generator, n: int) -> Wave:
    """Panels over bumps: clusters of clicks that start fast and die away in a quarter of a second."""
    times, gains = [], []
    for start in scatter(rng, n, 1.0 + place.density):
        offsets = np.cumsum(rng.uniform(0.012, 0.03, 12))
        times += list(start + offsets)
        gains += list(np.exp(-offsets / 0.1))
    bank = [burst(rng, 900 * place.pitch, 7000, 0.004) for _ in range(3)]
    return place_events(n, times, pick(rng, bank, len(times)), gains)


def rail_joints(place: Place, rng: Generator, n: int) -> Wave:
    """Wheels over rail joints: pairs of thuds, a bogie's two axles apart, in a steady beat."""
    times = beat(rng, n, rng.uniform(0.42, 0.6) / place.tempo, 0.01)
    gap = rng.uniform(0.09, 0.13) / place.tempo
    kernel = layer(burst(rng, 60, 1200 * place.pitch, 0.03), 0.3 * burst(rng, 1500, 6000, 0.008))
    pairs = [t + d for t in times for d in (0.0, gap)]
    return place_events(n, pairs, [kernel] * len(pairs), rng.uniform(0.7, 1, len(pairs)))


def motor_whine(place: Place, rng: Generator, n: int) -> Wave:
    """Traction motors: a stack of tones that climbs while the train gathers speed, or falls as it brakes."""
    low = rng.uniform(250, 500) * place.pitch
    curve = np.geomspace(low, low * rng.uniform(1.6, 3.0), n)
    if rng.random() < 0.5:
        curve = curve[::-1]
    return glide(curve, (1.0, 0.5, 0.7, 0.2, 0.3))


def squeal(place: Place, rng: Generator, n: int) -> Wave:
    """Brakes: two close tones that beat, hold for most of a second and bend downwards at the end."""
    out = np.zeros(n, dtype=np.float32)
    for start in scatter(rng, n, 0.5):
        length = int(rng.uniform(0.5, 0.9) * RATE_HZ)
        pitch_hz = rng.uniform(1500, 3600) * place.pitch * (1 - 0.08 * np.linspace(0, 1, length) ** 4)
        tone = glide(pitch_hz, (1.0, 0.3)) + glide(pitch_hz * rng.uniform(1.004, 1.012), (0.8, 0.3))
        out += place_events(n, [start], [tone * np.hanning(length).astype(np.float32) ** 0.5], [1.0])
    return out


def chime(place: Place, rng: Generator, n: int) -> Wave:
    """The gong before an announcement: three or four falling notes of 0.3 s."""
    root = rng.uniform(420, 620) * place.pitch
    steps = rng.permutation([1.0, 1.25, 1.5, 1.875])[: rng.integers(3, 5)]
    notes = [ring((root * s, 2 * root * s, 3 * root * s), (1.0, 0.3, 0.1), (0.25, 0.15, 0.1)) for s in steps]
    start = rng.uniform(0, n / RATE_HZ)
    return place_events(n, [start + 0.3 * k / place.tempo for k in range(len(notes))], notes, [1.0] * len(notes))


def trolley(place: Place, rng: Generator, n: int) -> Wave:
    """Suitcase wheels over tiles: a dozen even clicks a second, a second pair of wheels a little behind."""
    rate = rng.uniform(10, 14) * place.tempo
    low = rng.uniform(500, 1400) * place.pitch
    bank = [burst(rng, low, 5 * low, 0.006) for _ in range(3)]
    times = beat(rng, n, 1 / rate, 0.04)
    swell = np.exp(0.4 * drift(rng, len(times), 4 * RATE_HZ / len(times)))
    out = place_events(n, times, pick(rng, bank, len(times)), swell)
    return out + place_events(n, [t + 0.022 for t in times], pick(rng, bank, len(times)), 0.5 * swell)


def fountain(place: Place, rng: Generator, n: int) -> Wave:
    """Water: some two hundred short bubbles a second, each a rising ping."""
    bank = []
    for pitch_hz in np.geomspace(500, 5000, 12) * place.pitch:
        length = int(0.03 * RATE_HZ)
        t = np.arange(length, dtype=np.float32) / RATE_HZ
        bank.append(glide(pitch_hz * (1 + 6 * t), (1.0,)) * np.exp(-t / 0.006))
    times = scatter(rng, n, 150 + 150 * place.density)
    return place_events(n, times, pick(rng, bank, len(times)), 10 ** rng.uniform(-1, 0, len(times)))


def music(place: Place, rng: Generator, n: int) -> Wave:
    """A loudspeaker's tune: plucked notes in quavers over a bass note a beat."""
    quaver = rng.uniform(0.2, 0.28) / place.tempo
    root = rng.uniform(160, 260) * place.pitch
    scale = root * 2 ** (np.array([0, 2, 4, 7, 9, 12, 14, 16]) / 12)
    bank = [ring((2 * f, 4 * f, 6 * f), (1.0, 0.4, 0.2), (0.15, 0.1, 0.06)) for f in scale]
    bass = ring((root / 2, root, 1.5 * root), (1.0, 0.6, 0.3), (0.2, 0.15, 0.1))
    times = beat(rng, n, quaver, 0.0)
    out = place_events(n, times, pick(rng, bank, len(times)), rng.uniform(0.5, 1, len(times)))
    return out + place_events(n, times[::2], [bass] * len(times[::2]), [1.0] * len(times[::2]))


def pass_by(place: Place, rng: Generator, n: int) -> Wave:
    """Cars: tyre noise that swells and fades within about a second each, brighter when it is near."""
    out = np.zeros(n, dtype=np.float32)
    seconds = np.arange(n, dtype=np.float32) / RATE_HZ
    loop_s = n / RATE_HZ
    for at in beat(rng, n, rng.uniform(0.9, 1.3) / place.tempo, 0.15):
        away = (seconds - np.float32(at) + loop_s / 2) % loop_s - loop_s / 2
        near = np.exp(-0.5 * (away / rng.uniform(0.14, 0.25)) ** 2)
        gain = 10 ** rng.uniform(-0.3, 0)
        out += gain * near * (noise(rng, n, 150, 2000, -2) + near * noise(rng, n, 800, 7000, -1))
    return out


def horn(place: Place, rng: Generator, n: int) -> Wave:
    """A car's horn: two reed tones for a third of a second."""
    length = int(rng.uniform(0.25, 0.45) * RATE_HZ)
    root = np.full(length, rng.uniform(350, 480) * place.pitch)
    harmonics = 1 / np.sqrt(np.arange(1, 9))
    tone = glide(root, harmonics) + glide(1.26 * root, harmonics)
    fade = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / 800).astype(np.float32)
    times = scatter(rng, n, 0.2)
    return place_events(n, times, [tone * fade] * len(times), [1.0] * len(times))


def corrugation(place: Place, rng: Generator, n: int) -> Wave:
    """Worn tram rails: a howl of a few harmonics that throbs eight to eleven times a second."""
    root = rng.uniform(240, 420) * place.pitch * (1 + 0.05 * drift(rng, n, 0.6))
    throb = 0.5 + 0.5 * np.sin(
        2 * np.pi * rng.uniform(7.5, 11) * place.tempo * np.arange(n) / RATE_HZ + rng.uniform(0, 6)
    )
    return glide(root, (1.0, 0.6, 0.5, 0.3, 0.2, 0.15)) * (0.1 + throb**2).astype(np.float32)


def bell(place: Place, rng: Generator, n: int) -> Wave:
    """A tram's gong: two or three quick strokes of inharmonic partials."""
    root = rng.uniform(900, 1500) * place.pitch
    stroke = ring(root * np.array([1, 1.51, 2.03, 2.74]), (1, 0.7, 0.5, 0.4), (0.3, 0.22, 0.16, 0.1))
    times = rng.uniform(0, n / RATE_HZ) + np.arange(rng.integers(2, 4)) * 0.16 / place.tempo
    return place_events(n, times, [stroke] * len(times), rng.uniform(0.7, 1, len(times)))


def beeps(place: Place, rng: Generator, n: int) -> Wave:
    """A till or a closing door: short even tones."""
    length = int(0.07 * RATE_HZ)
    tone = glide(np.full(length, rng.uniform(1200, 2600) * place.pitch), (1.0, 0.2, 0.1)) * np.hanning(length).astype(
        np.float32
    )
    times = rng.uniform(0, n / RATE_HZ) + np.arange(rng.integers(2, 5)) * rng.uniform(0.14, 0.3)
    return place_events(n, times, [tone] * len(times), [1.0] * len(times))


def doors(place: Place, rng: Generator, n: int) -> Wave:
    """Compressed air let off: a hiss with a thud at its end."""
    hiss = burst(rng, 2500, 12_000, 0.12 / place.tempo)
    thud = burst(rng, 60, 500, 0.04)
    times = scatter(rng, n, 0.4)
    out = place_events(n, times, [hiss] * len(times), [1.0] * len(times))
    return out + place_events(n, times + 0.3 / place.tempo, [thud] * len(times), [1.5] * len(times))
