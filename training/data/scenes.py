"""The ten scenes of the procedural corpus as mixtures of sounds, and the places they are heard in.

What tells two scenes apart is what happens and in which rhythm. Average spectra tell less: sounds of every scene fill
the same bands, each place has a spectral tint of its own, and sounds stray from one scene into another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from . import sounds
from .sounds import Place, Sound
from .synthesis import RATE_HZ, Wave, drift, noise


@dataclass(frozen=True)
class Layer:
    """One sound of a scene: how often it is there, and how loud beside the scene's other sounds, in dB."""

    sound: Sound
    probability: float
    level_db: float


@dataclass(frozen=True)
class Scene:
    """A scene's sounds and its room: reverberation time and how much louder the room is than the direct sound."""

    layers: tuple[Layer, ...]
    reverb_s: tuple[float, float]
    wet_db: float


SCENES: dict[str, Scene] = {
    "airport": Scene(
        (Layer(sounds.trolley, 1.0, 0), Layer(sounds.voices, 0.6, -6), Layer(sounds.chime, 0.3, -3)), (0.8, 1.6), -9
    ),
    "bus": Scene(
        (Layer(sounds.engine, 1.0, 0), Layer(sounds.rattle, 0.8, -2), Layer(sounds.voices, 0.3, -6)), (0.05, 0.15), -9
    ),
    "metro": Scene(
        (Layer(sounds.rail_joints, 1.0, 0), Layer(sounds.motor_whine, 0.6, -4), Layer(sounds.beeps, 0.2, -6)),
        (0.1, 0.3),
        -9,
    ),
    "metro_station": Scene(
        (Layer(sounds.squeal, 0.8, -2), Layer(sounds.footsteps, 0.9, 0), Layer(sounds.doors, 0.5, -2)), (1.2, 2.4), 0
    ),
    "park": Scene(
        (Layer(sounds.birds, 1.0, 0), Layer(sounds.wind, 0.9, -3), Layer(sounds.footsteps, 0.2, -6)), (0.05, 0.2), -18
    ),
    "public_square": Scene(
        (Layer(sounds.fountain, 1.0, 0), Layer(sounds.voices, 0.6, -4), Layer(sounds.footsteps, 0.3, -6)),
        (0.2, 0.6),
        -12,
    ),
    "shopping_mall": Scene(
        (Layer(sounds.music, 1.0, 0), Layer(sounds.voices, 0.6, -3), Layer(sounds.beeps, 0.3, -5)), (0.5, 1.2), -8
    ),
    "street_pedestrian": Scene(
        (Layer(sounds.footsteps, 1.0, 0), Layer(sounds.voices, 0.8, -1), Layer(sounds.birds, 0.15, -8)),
        (0.1, 0.4),
        -14,
    ),
    "street_traffic": Scene(
        (Layer(sounds.pass_by, 1.0, 0), Layer(sounds.horn, 0.2, -4), Layer(sounds.engine, 0.3, -8)), (0.1, 0.4), -14
    ),
    "tram": Scene(
        (Layer(sounds.corrugation, 1.0, 0), Layer(sounds.bell, 0.3, -3), Layer(sounds.rail_joints, 0.5, -5)),
        (0.1, 0.3),
        -9,
    ),
}

#: Share of segments into which a sound of another scene strays, and how loud it is there.
STRAY_PROBABILITY, STRAY_DB = 0.3, -8.0

#: Spread of a place's spectral tint around its slope, in dB.
TINT_DB = 1.5

#: The bed of steady noise under everything lies this far below the sounds, in dB.
BED_DB = (-18.0, -5.0)


@dataclass(frozen=True)
class Location:
    """A place with its room, its spectral tint and its noise."""

    place: Place
    room: NDArray[np.complex64]  # spectrum of the room's impulse response, for segments of one length
    tint: Wave  # gain of each frequency, for segments of one length
    bed_db: float
    bed_slope_db: float


def make_location(scene: str, rng: Generator, n: int) -> Location:
    """Draw a place of `scene` whose segments have n samples."""
    spec = SCENES[scene]
    place = Place(tempo=rng.uniform(0.85, 1.2), pitch=rng.uniform(0.8, 1.25), density=rng.uniform())
    t = np.arange(n, dtype=np.float32) / RATE_HZ
    tail = noise(rng, n, 150, 6000, -2) * np.exp(-6.9 * t / rng.uniform(*spec.reverb_s))
    tail *= _gain(spec.wet_db + rng.uniform(-3, 3)) / np.linalg.norm(tail)
    tail[0] += 1.0
    # A smooth curve on octaves from 40 Hz: a slope, and a random walk's worth of bumps.
    octaves = np.log2(np.maximum(np.fft.rfftfreq(n, 1 / RATE_HZ), 40.0) / 40.0)
    bumps_db = TINT_DB * rng.standard_normal(10) + rng.uniform(-2, 1) * np.arange(10)
    return Location(
        place=place,
        room=np.fft.rfft(tail).astype(np.complex64),
        tint=_gain(np.interp(octaves, np.arange(10), bumps_db)),
        bed_db=rng.uniform(*BED_DB),
        bed_slope_db=rng.uniform(-6, 0),
    )


def render(scene: str, location: Location, rng: Generator, n: int) -> Wave:
    """One segment of `scene` at `location`: float32 (n,) with a root mean square of 1."""
    dry = np.zeros(n, dtype=np.float32)
    layers = list(SCENES[scene].layers)
    if rng.random() < STRAY_PROBABILITY:
        other = SCENES[rng.choice([name for name in SCENES if name != scene])]
        layers.append(Layer(other.layers[0].sound, 1.0, STRAY_DB))
    for layer in layers:
        if rng.random() < layer.probability:
            dry += _unit(layer.sound(location.place, rng, n)) * _gain(layer.level_db + rng.uniform(-3, 3))
    # The segment is a loop, so circular convolution with the room is the right one.
    heard = _unit(np.fft.irfft(np.fft.rfft(dry) * location.room, n))
    bed = _unit(noise(rng, n, 30, 12_000, location.bed_slope_db) * np.exp(0.1 * drift(rng, n, 2)))
    spectrum = np.fft.rfft(heard + bed * _gain(location.bed_db)) * location.tint
    return _unit(np.fft.irfft(spectrum, n))


def _gain(level_db: float | NDArray[np.floating]) -> Wave:
    return np.power(np.float32(10), np.asarray(level_db, dtype=np.float32) / 20)


def _unit(wave: NDArray[np.floating]) -> Wave:
    return (wave / (np.sqrt(np.mean(wave**2)) + np.float32(1e-12))).astype(np.float32)
