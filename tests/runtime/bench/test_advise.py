"""The advice on made-up measurements, and once on real ones."""

from __future__ import annotations

import numpy as np

from tinyscene.runtime.bench.advise import Measurement, advise, choose
from tinyscene.runtime.bundle import Bundle


def took(engine: str, p50_ms: float, threads: int = 1, p99_ms: float | None = None) -> Measurement:
    return Measurement(engine, threads, 10.0, 5.0, p50_ms, p99_ms or 1.2 * p50_ms, threads * p50_ms)


def test_a_little_faster_is_not_worth_another_engine() -> None:
    advice = choose([took("litert", 1.0), took("native", 0.9)])
    assert (advice.engine, advice.threads, advice.hop_s) == ("litert", 1, 0.25)
    assert "native is faster by 0.10 ms only" in advice.text


def test_much_faster_is() -> None:
    advice = choose([took("litert", 1.0), took("onnx", 2.1), took("native", 0.35)])
    assert advice.engine == "native"
    assert "native takes 0.35 ms, 0.35 of litert's 1.00 ms" in advice.text
    assert "a decision every 250 ms takes 0.14 % of a core" in advice.text
    assert [line.split("|")[1].strip() for line in advice.table().splitlines()[2:]] == ["native", "litert", "onnx"]


def test_threads_only_where_one_is_too_slow() -> None:
    enough = choose([took("litert", 8.0), took("litert", 3.0, threads=4)])
    assert enough.threads == 1
    assert "one thread: 4 take 3.00 ms and 1.5 times the processor time" in enough.text
    slow = choose([took("litert", 80.0), took("litert", 30.0, threads=4)])
    assert (slow.threads, slow.hop_s) == (4, 0.25)
    assert "4 threads bring 80.00 ms down to 30.00 ms" in slow.text
    useless = choose([took("litert", 80.0), took("litert", 75.0, threads=4)])
    assert (useless.threads, useless.hop_s) == (1, 0.5)


def test_an_accelerator_that_costs_more_than_it_saves_is_advised_against() -> None:
    advice = choose([took("litert", 1.0), took("coral", 1.4)])
    assert advice.engine == "litert"
    assert "do not use the accelerator: coral takes 1.40 ms, litert on the processor 1.00 ms" in advice.text
    assert choose([took("litert", 30.0), took("coral", 2.0)]).engine == "coral"


def test_a_machine_that_is_too_slow_is_told() -> None:
    advice = choose([took("litert", 900.0)])
    assert advice.hop_s == 1.0
    assert "no hop asked about can be held" in advice.text


def test_engines_that_are_not_here_are_named() -> None:
    advice = choose([took("litert", 1.0)], unavailable=(("coral", "no model for the Edge TPU"),))
    assert "coral was not tried: no model for the Edge TPU" in advice.text


def test_real_engines(bundle: Bundle) -> None:
    advice = advise(bundle, np.zeros((256, 64), np.float32), seconds=0.02)
    assert "litert" in {measurement.engine for measurement in advice.measurements}
    assert {"onnx", "coral"} <= {name for name, _ in advice.unavailable}
    assert all(measurement.p50_ms > 0 for measurement in advice.measurements)
    assert advice.to_dict()["engine"] == advice.engine
    assert advice.text.startswith("use: tinyscene listen --engine ")
