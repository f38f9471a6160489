"""The advice on made-up measurements, and once on real ones."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinyscene.runtime.bench import trials
from tinyscene.runtime.bench.advise import advise, choose, shortlist
from tinyscene.runtime.bench.footprint import footprint
from tinyscene.runtime.bench.trials import AtHop, Measurement, measure_engines
from tinyscene.runtime.bundle import Bundle
from tinyscene.runtime.engines.catalogue import EngineChoice
from tinyscene.runtime.errors import UnavailableError


def took(engine: str, p50_ms: float, threads: int = 1, p99_ms: float | None = None) -> Measurement:
    return Measurement(engine, threads, 10.0, 5.0, p50_ms, p99_ms or 1.2 * p50_ms, threads * p50_ms)


def paced(measurement: Measurement, **at_ms: float) -> Measurement:
    """With medians at hops given as `every_250=1.0`; the slowest is twice, the processor time as much."""
    found = {float(name.removeprefix("every_")) / 1e3: p50 for name, p50 in at_ms.items()}
    return replace(measurement, at_hops=tuple(AtHop(hop_s, p50, 2 * p50, p50) for hop_s, p50 in found.items()))


def test_a_little_faster_is_not_worth_another_engine() -> None:
    advice = choose([took("litert", 1.0), took("native", 0.9)])
    assert (advice.engine, advice.threads, advice.hop_s) == ("litert", 1, 0.25)
    assert "native is faster by 0.10 ms only" in advice.text


def test_much_faster_is() -> None:
    advice = choose([took("litert", 1.0), took("onnx", 2.1), took("native", 0.35)])
    assert advice.engine == "native"
    assert "native takes 0.35 ms, 0.35 of litert's 1.00 ms, at a decision every 250 ms" in advice.text
    assert "onnx takes 6.0 times as long (2.10 ms back to back)" in advice.text
    assert "a decision every 250 ms takes 0.14 % of a core" in advice.text
    assert [line.split("|")[1].strip() for line in advice.table().splitlines()[2:]] == ["native", "litert", "onnx"]


def test_threads_only_where_one_is_too_slow() -> None:
    enough = choose([took("litert", 8.0), took("litert", 3.0, threads=4)])
    assert enough.threads == 1
    assert "one thread: 4 take 3.00 ms for 8.00 ms, and 1.5 times the processor time" in enough.text
    slow = choose([took("litert", 80.0), took("litert", 30.0, threads=4)])
    assert (slow.threads, slow.hop_s) == (4, 0.25)
    assert "4 threads bring 80.00 ms down to 30.00 ms" in slow.text
    useless = choose([took("litert", 80.0), took("litert", 75.0, threads=4)])
    assert (useless.threads, useless.hop_s) == (1, 0.5)


def test_an_accelerator_that_costs_more_than_it_saves_is_advised_against() -> None:
    advice = choose([took("litert", 1.0), took("coral", 1.4)])
    assert advice.engine == "litert"
    assert (
        "do not use the accelerator, it is slower: coral takes 1.40 ms, litert on the processor 1.00 ms" in advice.text
    )
    assert choose([took("litert", 30.0), took("coral", 2.0)]).engine == "coral"


def test_a_machine_that_is_too_slow_is_told() -> None:
    advice = choose([took("litert", 900.0)])
    assert advice.hop_s == 1.0
    assert "no hop asked about can be held" in advice.text


def test_engines_that_are_not_here_are_named() -> None:
    advice = choose([took("litert", 1.0)], unavailable=(("coral", "no model for the Edge TPU"),))
    assert "coral was not tried: no model for the Edge TPU" in advice.text


def test_what_counts_is_the_pace_of_a_stream() -> None:
    """Back to back native is twice as fast; with cold caches the two are alike."""
    litert, native = paced(took("litert", 1.0), every_250=1.5), paced(took("native", 0.5), every_250=1.3)
    advice = choose([litert, native])
    assert advice.engine == "litert"
    assert "native is faster by 0.20 ms only" in advice.text
    assert "a decision every 250 ms takes 0.60 % of a core" in advice.text
    slower = choose([litert, paced(took("native", 0.5), every_250=1.6)])
    assert "native is not faster at this pace: not worth another engine" in slower.text


def test_a_hop_is_held_by_what_was_measured_at_it() -> None:
    slow = paced(took("litert", 10.0), every_100=40.0, every_250=40.0, every_500=40.0, every_1000=40.0)
    assert choose([slow]).hop_s == 0.5  # 80 ms at its slowest: a quarter of 250 ms is 62.5
    assert choose([took("litert", 10.0)]).hop_s == 0.25


def test_a_late_start_is_told() -> None:
    advice = choose([replace(took("litert", 1.0), start_s=0.3), replace(took("native", 0.35), start_s=0.8)])
    assert "it starts in 0.8 s, litert in 0.3 s" in advice.text
    assert "starts in" not in choose([took("litert", 1.0), replace(took("native", 0.35), start_s=0.8)]).text


def test_an_accelerator_that_takes_only_a_part_is_told() -> None:
    part = replace(took("coral", 1.4), on_processor=3)
    advice = choose([took("litert", 1.0), part])
    assert "do not use the accelerator, it is slower: coral takes 1.40 ms" in advice.text
    assert "3 of its operators run on the processor" in advice.text
    assert "3 of its operators" in choose([took("litert", 30.0), part]).text
    assert "it is hardly faster" in choose([took("litert", 1.0), took("coral", 0.9)]).text


def test_an_accelerator_is_compared_with_the_best_of_the_others() -> None:
    advice = choose([took("litert", 5.0), took("native", 1.0), took("coral", 1.4)])
    assert advice.engine == "native"
    assert "native on the processor 1.00 ms" in advice.text


def test_nothing_runs_here() -> None:
    with pytest.raises(UnavailableError, match="no engine runs here: litert: no interpreter"):
        choose([], unavailable=(("litert", "no interpreter"),))
    assert choose([took("coral", 1.0)]).engine == "coral"


def test_the_advice_does_not_hang_on_the_order_of_equal_engines() -> None:
    others = [took("native", 0.5), took("onnx", 0.5), took("coral", 2.0), took("litert", 0.9, threads=2)]
    texts = {choose([took("litert", 1.0), *order]).text for order in itertools.permutations(others)}
    assert len(texts) == 1


def test_the_short_list() -> None:
    litert, native, coral = took("litert", 1.0), took("native", 0.4), took("coral", 3.0)
    assert shortlist([litert, took("litert", 0.3, threads=4), took("onnx", 2.0), native, coral]) == [
        litert, native, coral
    ]  # fmt: skip
    assert shortlist([litert, took("onnx", 2.0)]) == [litert]


class CountingEngine:
    """An engine that does nothing and tells when it was run."""

    name = "counting"

    def __init__(self, ran: list[str], label: str) -> None:
        self.ran, self.label = ran, label

    def logits(self, log_mel: np.ndarray) -> np.ndarray:
        self.ran.append(self.label)
        return np.zeros(3, np.float32)

    def run_int8(self, inputs: np.ndarray) -> np.ndarray:
        raise NotImplementedError


def test_engines_take_turns(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(trials, "footprint", lambda path, name, threads: None)
    monkeypatch.setattr(
        trials, "open_named_engine", lambda bundle, name, threads: CountingEngine(ran, f"{name} {threads}")
    )
    choices = [
        EngineChoice("litert", True, threads=(1, 2)),
        EngineChoice("onnx", False, "no"),
        EngineChoice("coral", True),
    ]
    measured = measure_engines(
        bundle, choices, np.zeros((256, 64), np.float32), 0.0, (0.001, 0.002), shortlist, lambda line: None
    )
    assert [(m.engine, m.threads) for m in measured] == [("litert", 1), ("litert", 2), ("coral", 1)]
    turns = [label for label, _ in itertools.groupby(ran)]
    once = ["litert 1", "litert 2", "coral 1"]
    # Warm-up, five rounds back to back, then two rounds at each of two hops with the default and the accelerator.
    assert turns == once * 6 + ["litert 1", "coral 1"] * 4
    assert [[at.hop_s for at in m.at_hops] for m in measured] == [[0.001, 0.002], [], [0.001, 0.002]]


def test_a_footprint_is_that_of_a_process_of_its_own(bundle: Bundle, tmp_path: Path) -> None:
    found = footprint(bundle.path, "litert")
    assert found is not None
    assert found.memory_mb is not None
    assert 1 < found.memory_mb < 200
    assert 0.05 < found.start_s < 60
    assert footprint(tmp_path, "litert") is None


def test_real_engines(bundle: Bundle) -> None:
    said: list[str] = []
    window = np.zeros((256, 64), np.float32)
    advice = advise(bundle, window, seconds=0.02, hops_s=(0.02, 0.05), log=said.append)
    assert said[0] == "opening litert"
    assert [at.hop_s for at in advice.measurements[0].at_hops] == [0.02, 0.05]
    assert "litert" in {measurement.engine for measurement in advice.measurements}
    assert {"onnx", "coral"} <= {name for name, _ in advice.unavailable}
    assert all(measurement.p50_ms > 0 for measurement in advice.measurements)
    assert advice.to_dict()["engine"] == advice.engine
    assert advice.text.startswith("use: tinyscene listen --engine ")
