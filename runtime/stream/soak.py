"""A day in minutes: a stream with simulated faults beside the same audio uninterrupted, both as fast as they can.

`python -m tinyscene.runtime.stream.soak BUNDLE --hours 24 --source FOLDER` plays recordings over and over, loses from
one sample and ten minutes of them every so often, and checks what must hold: every sample is heard or counted as lost,
what is heard outside the losses is judged bit for bit as in the uninterrupted stream, and memory stays flat. The faults
are simulated: no device is opened. Exits with 1 when something did not hold.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..audio import AudioFile
from ..bundle import load_bundle
from ..engines.catalogue import open_named_engine
from ..engines.engine import Engine
from ..errors import InputError, TinysceneError
from ..machine.usage import read_memory
from ..sources.source import Block
from .decision import Decision
from .stream import SceneStream, StreamSettings

#: So many time constants after the last window that was touched by a loss, an average has forgotten it to 2e-9.
FORGOTTEN = 20

#: The resampler's filter reaches so far, in seconds of the source (soxr HQ, 16 to 96 kHz: 18 ms).
FILTER_S = 0.05


@dataclass(frozen=True)
class Fault:
    """One simulated loss."""

    start: int  # samples of the source's clock
    stop: int
    down: bool  # told twice a second while it lasts, as by a microphone that is away; else by the next block


def faults(length: int, rate_hz: int, seed: int, every_s: float = 600.0) -> Iterator[Fault]:
    """Losses in `length` samples, one in `every_s` on average: log-uniform from one sample to ten minutes."""
    rng = np.random.default_rng(seed)
    position = 5 * rate_hz
    while True:
        start = position + round(rng.exponential(every_s) * rate_hz)
        stop = start + round(float(np.exp(rng.uniform(0.0, np.log(600.0 * rate_hz)))))
        if stop + 10 * rate_hz > length:
            return
        yield Fault(start, stop, bool(stop - start > rate_hz and rng.random() < 0.5))
        position = stop + 1


@dataclass
class Report:
    """What a soak found; `problems` is empty when all that must hold held."""

    hours: float = 0.0
    clock_samples: int = 0
    heard_samples: int = 0
    lost_samples: int = 0
    faults: int = 0
    decisions: int = 0  # of the stream with the faults
    reference_decisions: int = 0
    compared_windows: int = 0  # nothing of them lost: features and logits must be the same bits
    compared_states: int = 0  # averages settled as well: scene and state must be the same
    different_windows: int = 0
    different_states: int = 0
    unaccounted_samples: int = 0
    rss_mb: list[float] = field(default_factory=list)  # after every simulated hour; NaN where the system does not say
    wall_s: float = 0.0

    @property
    def problems(self) -> list[str]:
        """What did not hold, in words."""
        found = {
            "samples unaccounted for": self.unaccounted_samples,
            "windows judged differently outside the losses": self.different_windows,
            "scenes or states that differ outside the losses": self.different_states,
            "nothing was compared": int(not (self.compared_windows and self.compared_states)),
        }
        return [f"{text}: {count}" for text, count in found.items() if count]


class _Recorder:
    """An engine that keeps its last logits and the check sum of its last window, as int8 hides small differences."""

    def __init__(self, engine: Engine) -> None:
        self.name, self._engine = engine.name, engine
        self.last = 0, b""

    def logits(self, log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
        logits = self._engine.logits(log_mel)
        self.last = zlib.crc32(np.ascontiguousarray(log_mel.T).data), logits.tobytes()
        return logits

    def run_int8(self, inputs: NDArray[np.int8]) -> NDArray[np.int8]:
        return self._engine.run_int8(inputs)


class Soak:
    """Two streams of the same audio, one with the faults and one without, in step."""

    def __init__(
        self,
        make_stream: Callable[[Engine], SceneStream],
        engine: Engine,
        audio: NDArray[np.float32],
        seed: int = 0,
    ) -> None:
        """`audio` (n,), at the streams' rate, is repeated without end; `make_stream` makes the stream of an engine."""
        self.report = Report()
        self._engines = _Recorder(engine), _Recorder(engine)
        self.faulty, self.reference = (make_stream(engine) for engine in self._engines)
        self._audio, self._seed = audio, seed
        self._rate = self.faulty.sample_rate_hz
        self._waiting: dict[float, tuple[tuple[int, bytes], Decision]] = {}  # the reference's, by time
        self._touched_s = float("-inf")  # until when windows are touched by a loss
        self._synchronous = True  # whether the two hystereses have met since the last loss

    def run(self, hours: float, each_hour: Callable[[Report], None] = lambda report: None) -> Report:
        """Simulate so many hours; `each_hour` is called after every one with the report so far."""
        report, rate, began = self.report, self._rate, time.perf_counter()
        length, hour = round(3600 * hours * rate), 0
        for block, through in self._blocks(length):
            self._step(block, through)
            if through // (3600 * rate) > hour:
                hour = through // (3600 * rate)
                self._account(through, began)
                rss = read_memory().rss_bytes
                report.rss_mb.append(float("nan") if rss is None else rss / 1e6)
                each_hour(report)
        for stream, kept in ((self.reference, True), (self.faulty, False)):
            self._take(stream.finish(0.0), kept)
        self._account(length, began)
        return report

    def _account(self, through: int, began: float) -> None:
        report, gaps = self.report, self.faulty.gaps
        report.hours, report.clock_samples = through / self._rate / 3600, through
        report.heard_samples, report.lost_samples = gaps.heard, gaps.lost
        report.unaccounted_samples = abs(through - gaps.heard - gaps.lost) + abs(through - gaps.position)
        report.wall_s = time.perf_counter() - began

    def _blocks(self, length: int) -> Iterator[tuple[Block, int]]:
        """The faulty source's blocks, of irregular sizes, and the clock after each."""
        rng = np.random.default_rng(self._seed + 1)
        position = dropped = 0
        for fault in (*faults(length, self._rate, self._seed), None):
            start = length if fault is None else fault.start
            while position < start:
                end = min(start, position + int(rng.integers(1, self._rate)))
                yield Block(self._piece(position, end), 0.0, dropped), end
                position = end
            if fault is None:
                return
            self.report.faults += 1
            self._synchronous = False
            while position < fault.stop:
                end = min(fault.stop, position + self._rate // 2) if fault.down else fault.stop
                dropped += end - position
                position = end
                self._touched_s = position / self._rate
                yield Block(np.empty(0, np.float32), 0.0, dropped, "simulated" if fault.down else None), end

    def _piece(self, start: int, stop: int) -> NDArray[np.float32]:
        return self._audio.take(np.arange(start, stop), mode="wrap")

    def _step(self, block: Block, through: int) -> None:
        """Give the reference the audio until `through`, the faulty stream its block, and compare."""
        reference = self.reference.gaps.heard
        for start in range(reference, through, self._rate):  # a loss of minutes second by second
            piece = self._piece(start, min(through, start + self._rate))
            self._take(self.reference.push(Block(piece, 0.0)), True)
        self._take(self.faulty.push(block), False)
        oldest = through / self._rate - 10.0
        if len(self._waiting) > 1000:
            self._waiting = {t_s: kept for t_s, kept in self._waiting.items() if t_s > oldest}

    def _take(self, decisions: Iterator[Decision], reference: bool) -> None:
        for decision in decisions:
            if reference:
                self.report.reference_decisions += 1
                self._waiting[decision.t_s] = self._engines[1].last, decision
            else:
                self.report.decisions += 1
                self._compare(self._engines[0].last, decision)

    def _compare(self, judged: tuple[int, bytes], decision: Decision) -> None:
        report, spec = self.report, self.faulty.spec
        expected, other = self._waiting.pop(decision.t_s)  # a KeyError is a decision off the grid
        seen_s = (spec.clip_samples + spec.win_length) / spec.sample_rate_hz + FILTER_S
        if decision.t_s - seen_s <= self._touched_s:
            return
        report.compared_windows += 1
        report.different_windows += int(judged != expected)
        settled_s = self._touched_s + seen_s + FORGOTTEN * self.faulty.smoothing_s
        if decision.t_s <= settled_s:
            return
        if self._synchronous:
            report.compared_states += 1
            report.different_states += int((decision.scene, decision.state) != (other.scene, other.state))
        # Which scene is held depends on what was decided before: after a scene that is certain, after none that can be
        # held, and after one that both hold, it is the same in both.
        thresholds, most = self.faulty.thresholds, max(other.probabilities.values())
        certain = most >= thresholds.enter or most < thresholds.leave
        self._synchronous = self._synchronous or certain or decision.scene == other.scene


def recordings(path: Path, seconds: float = 600.0) -> tuple[NDArray[np.float32], int]:
    """Audio of a file, or of a folder's in alphabetical order, up to `seconds` of it, and its rate.

    Files of another rate than the first one's are left out. Raises `InputError` when nothing is found.
    """
    files = (
        sorted(file for file in path.rglob("*") if file.suffix in (".wav", ".flac", ".ogg"))
        if path.is_dir()
        else [path]
    )
    parts: list[NDArray[np.float32]] = []
    rate = 0
    for file in map(AudioFile, files):
        rate = rate or file.sample_rate_hz
        if file.sample_rate_hz == rate:
            parts += file.blocks(10.0)
        if sum(map(len, parts)) >= seconds * rate:
            break
    if not parts:
        raise InputError(f"no WAV, FLAC or Ogg file in {path}: name another --source")
    return np.concatenate(parts)[: round(seconds * rate)], rate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tinyscene.runtime.stream.soak", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--hours", type=float, default=24.0, help="simulated hours")
    parser.add_argument("--source", type=Path, required=True, help="audio file or folder that is played over and over")
    parser.add_argument("--hop-ms", type=float, default=250.0)
    parser.add_argument("--engine", default="litert")
    parser.add_argument("--seed", type=int, default=0, help="of the faults and of the sizes of blocks")
    parser.add_argument("--json", action="store_true", help="print the report as JSON lines")
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    engine = open_named_engine(bundle, arguments.engine)
    audio, rate_hz = recordings(arguments.source)
    settings = StreamSettings(hop_ms=arguments.hop_ms)

    def make_stream(recorder: Engine) -> SceneStream:
        return SceneStream(bundle.frontend, bundle.labels, recorder, rate_hz, settings)

    def show(report: Report) -> None:
        if arguments.json:
            print(json.dumps(asdict(report)), flush=True)
        else:
            print(
                f"{report.hours:5.1f} h: {report.faults} losses, {report.unaccounted_samples} samples unaccounted for, "
                f"{report.compared_windows:,} windows compared, {report.different_windows} differ, "
                f"{report.compared_states:,} states, {report.different_states} differ, "
                f"{report.rss_mb[-1]:.1f} MB, {report.wall_s:.0f} s",
                flush=True,
            )

    report = Soak(make_stream, engine, audio, arguments.seed).run(arguments.hours, show)
    for problem in report.problems:
        print(f"soak: {problem}", file=sys.stderr)
    return 1 if report.problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TinysceneError as error:
        print(f"soak: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
