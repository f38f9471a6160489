"""Three scenes of tones in noise, told apart by how fast they pulse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 32_000
PULSES_HZ = {"bus": 3.0, "park": 9.0, "tram": 23.0}


def write_corpus(folder: Path, clips_per_location: int = 4, seed: int = 0) -> Path:
    """Write a TAU-layout corpus of 1-s clips: per scene two cities to train on and one to evaluate on."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(RATE_HZ) / RATE_HZ
    lists: dict[str, list[str]] = {"train": [], "evaluate": []}
    rows = ["filename\tscene_label\tidentifier\tsource_label"]
    (folder / "audio").mkdir(parents=True)
    (folder / "evaluation_setup").mkdir()
    for scene, pulse_hz in PULSES_HZ.items():
        for city, side, devices in (
            ("paris", "train", "ab"),
            ("lyon", "train", ["a", "s1"]),
            ("milan", "evaluate", ["a", "s1", "s4"]),
        ):
            for index in range(clips_per_location):
                device = devices[index % len(devices)]
                name = f"audio/{scene}-{city}-{len(rows)}-0-0-{device}.wav"
                envelope = 0.5 + 0.5 * np.sign(np.sin(2 * np.pi * pulse_hz * (time_s + rng.random())))
                noise = rng.standard_normal(RATE_HZ)
                soundfile.write(folder / name, 0.1 * envelope * noise, RATE_HZ, subtype="PCM_16")
                rows.append(f"{name}\t{scene}\t{city}-{len(rows)}\t{device}")
                lists[side].append(f"{name}\t{scene}")
    (folder / "meta.csv").write_text("\n".join(rows) + "\n")
    for side, names in lists.items():
        text = "\n".join(["filename\tscene_label", *names]) + "\n"
        (folder / "evaluation_setup" / f"fold1_{side}.csv").write_text(text)
    return folder
