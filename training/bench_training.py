"""Training speed against training clip by clip, measured in turns on the same clips with the same draws.

    python -m tinyscene.training.bench_training [--device cuda] [--rounds 3] [--batches 6]

Both sides have the same settings, networks and threads: batches of 64, impulse responses on clips of all devices with
probability 0.6, roll, band limit jitter, frequency mask, Freq-MixStyle. The pipeline starts from the cache, the other
side (`bench_plain`) from WAV files at the right rate; in its second form as many worker processes as there are cores
handle the clips, in its third the files are as TAU22's are, 44.1 kHz and 24 bits. A figure is the median over rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..runtime.errors import TinysceneError, require
from ..runtime.output import format_table
from .batches import EpochOrder, SnippetBatches, open_data, step_generator
from .bench import BATCH, NETWORKS, TrainingStep, available_cores, generated_responses
from .bench_plain import PlainClips, draw, plain_inputs, plain_loader
from .data.cache import SAMPLE_RATE_HZ, SnippetCache
from .predict import choose_device
from .trainer import keep_freed_memory

#: Clips that are generated to train on: more than a processor's cache holds.
CLIPS = 1024


def write_clips(root: Path, clips: int, rate_hz: int, subtype: str) -> list[Path]:
    """Write one-second WAV files of noise into `root`, in one folder a scene; their paths in the cache's order."""
    rng = np.random.default_rng(0)
    files = []
    for scene in ("one", "two"):
        (root / scene).mkdir(parents=True)
        for number in range(clips // 2):
            file = root / scene / f"{number:04}.wav"
            soundfile.write(file, 0.1 * rng.standard_normal(rate_hz), rate_hz, subtype=subtype)
            files.append(file)
    return files


@dataclass(frozen=True)
class Sides:
    """The two ways to train on the same batches."""

    files: Sequence[Path]
    recorded: Sequence[Path]  # files of another rate
    cache: SnippetCache
    batches: Sequence[np.ndarray]  # positions
    device: torch.device

    def pipeline(self, step: TrainingStep, then: Callable[[Tensor], object]) -> None:
        """Hand the inputs of each batch to `then`, made by the package's own stages."""
        snippets = SnippetBatches(self.cache, np.arange(len(self.cache)))
        for number, positions in enumerate(self.batches):
            generator = step_generator(0, 0, number)
            samples = snippets[positions].wave.to(self.device)
            then(step.log_mel(step.augment(samples, generator), generator))
        self.synchronize()

    def loader(self, files: Sequence[Path], workers: int = 0) -> DataLoader[Tensor]:
        """The same batches, made clip by clip from `files`."""
        responses = generated_responses()
        items = [
            draw(positions.tolist(), len(responses), step_generator(0, 0, number))
            for number, positions in enumerate(self.batches)
        ]
        return plain_loader(PlainClips(files, responses), items, workers)

    def plain(self, step: TrainingStep, then: Callable[[Tensor], object], loader: DataLoader[Tensor]) -> None:
        """Hand the inputs of each batch of `loader` to `then`, made the plain way."""
        clips = loader.dataset
        assert isinstance(clips, PlainClips)
        for number, wave in enumerate(loader):
            generator = step_generator(0, 0, number)
            draw(range(len(wave)), len(clips.responses), generator)  # what the loader's clips have used up
            then(plain_inputs(step, wave.to(self.device), generator))
        self.synchronize()

    def synchronize(self) -> None:
        """Wait until the device has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def in_turns(runs: dict[str, Callable[[], None]], clips: int, rounds: int) -> dict[str, float]:
    """Clips per second of each of `runs`, which handle `clips` at a time: median over rounds in which all take part."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: clips / statistics.median(values) for name, values in seconds.items()}


def compare(sides: Sides, rounds: int, cores: int) -> list[list[Any]]:
    """Rows of clips per second: each network's training, and making the inputs alone, in both ways."""
    clips = sum(map(len, sides.batches))
    rows = []
    loaders = {
        "plain": sides.loader(sides.files),
        "workers": sides.loader(sides.files, cores),
        "recorded": sides.loader(sides.recorded),
    }
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("no network, inputs alone", "cpm", {"base_channels": 8}),
        *NETWORKS,
    ]
    for name, arch, arguments in kinds:
        step = TrainingStep(arch, arguments, sides.device)
        then: Callable[[Tensor], object] = step.network if (name, arch, arguments) in NETWORKS else _nothing
        speed = in_turns(
            {
                "pipeline": partial(sides.pipeline, step, then),
                **{key: partial(sides.plain, step, then, loader) for key, loader in loaders.items()},
            },
            clips,
            rounds,
        )
        ours = speed.pop("pipeline")
        rows.append([name, round(ours), *(figure for rate in speed.values() for figure in (round(rate), ours / rate))])
    return rows


def stages(sides: Sides, rounds: int) -> list[list[Any]]:
    """Rows of clips per second and milliseconds a batch of each stage of the pipeline, and of each network."""
    positions = sides.batches[0]
    snippets = SnippetBatches(sides.cache, np.arange(len(sides.cache)))
    generator = step_generator(0, 0, 0)
    step = TrainingStep("cpm", {"base_channels": 8}, sides.device)
    samples = snippets[positions].wave.to(sides.device)
    wave = step.augment(samples, generator)
    runs: dict[str, Callable[[], object]] = {
        "gather from the cache": lambda: snippets[positions].wave.to(sides.device),
        "convert, impulse responses": partial(step.convolve, samples, generator),
        "convert, impulse responses, roll": partial(step.augment, samples, generator),
    }
    for arch in ("cpm", "cpr"):
        features = TrainingStep(arch, {"base_channels": 8}, sides.device).features
        runs[f"log-mel with its variations, {arch}"] = partial(features, wave, generator)
    log_mel = step.features(wave, generator)
    runs["Freq-MixStyle"] = partial(step.mix, log_mel, generator)
    for name, arch, arguments in NETWORKS:
        other = TrainingStep(arch, arguments, sides.device)
        runs[f"forward, backward, Adam: {name}"] = partial(other.network, other.log_mel(wave, generator))

    def waited_for(run: Callable[[], object]) -> Callable[[], None]:
        def repeated() -> None:
            for _ in sides.batches:
                run()
            sides.synchronize()

        return repeated

    clips = len(positions) * len(sides.batches)
    speed = in_turns({name: waited_for(run) for name, run in runs.items()}, clips, rounds)
    return [[name, round(rate), 1e3 * len(positions) / rate] for name, rate in speed.items()]


def limits(compared: Sequence[Sequence[Any]]) -> list[str]:
    """Of each network, whether it or the pipeline before it takes more of a step."""
    inputs_s = 1 / compared[0][1]
    lines = []
    for name, rate, *_ in compared[1:]:
        share = max(0.0, 1 - inputs_s * rate)
        what = "the network" if share >= 0.5 else "the pipeline"
        lines.append(f"{name}: {what} limits (the network takes {share:.0%} of a step)")
    return lines


def _nothing(inputs: Tensor) -> None:
    """No network."""


def main() -> int:
    """Generate clips, measure, print tables; 3 when scipy is not there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all measurements (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=6, help=f"of {BATCH} clips, a round (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=available_cores(), help="of torch (default: all cores)")
    arguments = parser.parse_args()
    try:
        require("scipy.signal", "dev")
        device = choose_device(arguments.device)
    except TinysceneError as error:
        print(f"bench-training: {error}", file=sys.stderr)
        return error.exit_code
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    with tempfile.TemporaryDirectory(prefix="tinyscene-bench-") as folder:
        files = write_clips(Path(folder) / "clips", CLIPS, SAMPLE_RATE_HZ, "PCM_16")
        recorded = write_clips(Path(folder) / "recorded", CLIPS, 44_100, "PCM_24")
        cache = open_data(Path(folder) / "clips", 1, None, Path(folder) / "cache", None).cache
        batches = list(EpochOrder(len(files), BATCH, seed=0))[: arguments.batches]
        sides = Sides(files, recorded, cache, batches, device)
        compared = compare(sides, arguments.rounds, available_cores())
        parts = stages(sides, arguments.rounds)
    threads = f"{arguments.threads} thread{'s' * (arguments.threads > 1)}"
    print(f"clips per second on {device.type}, {threads}, batches of {BATCH}, median of {arguments.rounds} rounds\n")
    header = [
        "training",
        "pipeline",
        "clip by clip",
        "times",
        f"{available_cores()} workers",
        "times",
        "44.1 kHz",
        "times",
    ]
    print(format_table(header, compared))
    print("\n" + format_table(["stage", "clips/s", f"ms for {BATCH}"], parts))
    print("\n" + "\n".join(limits(compared)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
