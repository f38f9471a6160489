"""The hardware table and the report of made-up runs."""

from __future__ import annotations

from bench_runs import FIGURE, PERCENTILES, made_up_run

from tinyscene.runtime.bench.hardware import hardware_table
from tinyscene.runtime.bench.report import run_text, runs_table

GOLDEN = """\
| machine                               | bundle          | engine                               | threads | hop ms | runs   | p50 ms | p99 ms | max ms | to decision ms | late | CPU % | peak MB | start s | mJ measured      | mJ estimated | max C        | last run   |
|---------------------------------------|-----------------|--------------------------------------|--------:|-------:|--------|-------:|-------:|-------:|---------------:|-----:|------:|--------:|--------:|------------------|--------------|--------------|------------|
| Simulated Board 5, Simulated Linux 12 | scenes 01234567 | LiteRT default                       |       1 |    250 | 3 of 4 |   1.50 |   2.25 |   9.00 |             88 |    4 |  2.00 |      74 |    0.90 | not measured     | 5            | 60.0         | 2026-01-05 |
| Simulated Board 5, Simulated Linux 12 | scenes 01234567 | LiteRT default (as fast as possible) |       1 |    250 | 1      |   1.50 |   2.25 |   2.50 |             88 |    0 |  2.00 |      74 |    0.90 | 4.12 (4 to 4.3)  | not measured | not measured | 2026-01-02 |

Invalid runs, in none of the figures above:

- 2026-01-02T03:04:05, Simulated Board 5, Simulated Linux 12, LiteRT default, 1 thread(s), 250 ms: throttled (at most 85.0 C); under-voltage
"""  # noqa: E501


def test_the_table_is_this(capsys: object) -> None:
    slow = PERCENTILES | {"p50_ms": 4.0, "max_ms": 9.0}
    invalid = {"valid": False, "reasons": ["throttled (at most 85.0 C)", "under-voltage"], "notes": []}
    estimated = {"kind": "estimated", "above_idle_j": FIGURE | {"value": 0.004}}
    runs = [
        made_up_run(energy=estimated),
        made_up_run(
            latency__stages__latency=slow,
            latency__deadline_misses=4,
            temperature_c__highest=60.0,
            machine__date="2026-01-05",
            energy={"kind": "estimated", "above_idle_j": FIGURE | {"value": 0.006}},
        ),
        made_up_run(),
        made_up_run(validity=invalid, latency__stages__latency=PERCENTILES | {"p50_ms": 1000.0, "max_ms": 1e6}),
        made_up_run(
            source__paced=False, energy={"kind": "measured", "above_idle_j": FIGURE}, temperature_c__highest=None
        ),
    ]
    squeezed = [" ".join(line.split()) for line in hardware_table(runs).splitlines()]
    expected = [" ".join(line.split()) for line in GOLDEN.splitlines()]
    # Widths follow the cells; the rule under the headings only says which columns are numbers.
    assert [line for line in squeezed if "---" not in line] == [line for line in expected if "---" not in line]


def test_runs_of_different_things_are_not_averaged() -> None:
    runs = [
        made_up_run(),
        made_up_run(machine__processor="Another"),
        made_up_run(bundle__model_sha256="ffff"),
        made_up_run(engine_name="native C"),
        made_up_run(threads=4),
        made_up_run(hop_ms=500.0),
        made_up_run(source__paced=False),
        made_up_run(machine__os="Simulated Linux 13"),
    ]
    table = hardware_table(runs)
    assert len(table.splitlines()) == 2 + len(runs)
    assert "Invalid" not in table


def test_without_a_valid_run_there_is_no_figure() -> None:
    text = hardware_table([made_up_run(validity__valid=False, validity__reasons=["9 runs are too few"])])
    assert text.startswith("No valid run yet")
    assert "9 runs are too few" in text
    assert "|" not in text
    assert hardware_table([]).startswith("No valid run yet")


def test_the_report_of_a_run() -> None:
    energy = {"kind": "estimated", "above_idle_j": FIGURE}
    first, second, third = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in runs_table(
            [made_up_run(energy=energy), made_up_run(validity__valid=False, temperature_c__highest=None)],
            [("coral", "no Edge TPU is plugged in")],
        ).splitlines()[2:]
    )
    assert first == [
        "LiteRT default, 1 thr", "1.500", "1.750", "2.250", "2.500", "0", "87.5", "2.00", "0.0125", "74.0", "0.90",
        "not measured", "4.12 (4 to 4.3)", "48.0", "55.5", "54.0", "yes",
    ]  # fmt: skip
    assert second[11:] == ["not measured", "not measured", "48.0", "-", "54.0", "INVALID"]
    assert third == ["coral", *["-"] * 15, "not measured: no Edge TPU is plugged in"]
    text = run_text(made_up_run())
    assert "| engine    |    77 |  1.500 |  1.750 |  2.250 |  2.500 | 9.00, 3.00" in text
    assert "86.0 ms at most (block 20.0, resampler 18.0, half an STFT window 48.0)" in text
    assert "0.900 s, median of 3 fresh processes (interpreter 0.100, imports 0.500, first decision 0.300; " in text
    assert "the first 1.500" in text
    assert "governor performance, frequency 1500 MHz at the lowest, other processes 3 % of a core, 12 looks" in text
    assert "\nvalid\nnote: a note" in text
    bad = run_text(made_up_run(validity__valid=False, validity__reasons=["throttled", "under-voltage"]))
    assert "INVALID, not to be averaged in: throttled; under-voltage" in bad
