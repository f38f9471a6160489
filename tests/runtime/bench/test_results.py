"""The results file: appended whole by several programs at once, read in spite of damage."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench_runs import made_up_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinyscene.runtime.bench.results import BEGIN, END, append_result, main, read_results
from tinyscene.runtime.errors import InputError


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    file = tmp_path / "new" / "bench.jsonl"
    runs = [made_up_run(), made_up_run(engine="native", cpu_share=float("nan"), machine__processor="Böard ™")]
    for run in runs:
        append_result(file, run)
    found, problems = read_results(file)
    assert problems == []
    assert found[0] == {"schema": "tinyscene.bench_run/1", **runs[0]}
    assert found[1]["cpu_share"] is None  # JSON has no NaN
    assert found[1]["machine"]["processor"] == "Böard ™"


def test_many_programs_at_once_keep_whole_lines(tmp_path: Path) -> None:
    """Lines longer than any buffer, from processes that begin together."""
    file, programs, lines = tmp_path / "bench.jsonl", 6, 20
    code = (
        "import sys; from pathlib import Path; from tinyscene.runtime.bench.results import append_result\n"
        "sys.stdin.read()\n"
        f"for i in range({lines}): append_result(Path(sys.argv[1]), "
        "{'who': sys.argv[2], 'i': i, 'padding': sys.argv[2] * 50_000})\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(file), str(who)], stdin=subprocess.PIPE)
        for who in range(programs)
    ]
    for program in started:
        assert program.stdin is not None
        program.stdin.close()
    assert [program.wait(timeout=120) for program in started] == [0] * programs
    written = [json.loads(line) for line in file.read_text().splitlines()]
    assert all(entry["padding"] == entry["who"] * 50_000 for entry in written)
    for who in range(programs):
        assert [entry["i"] for entry in written if entry["who"] == str(who)] == list(range(lines))


def test_a_torn_line_spoils_only_itself(tmp_path: Path) -> None:
    file = tmp_path / "bench.jsonl"
    append_result(file, made_up_run())
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:100])  # the power went while the second line was written
    append_result(file, made_up_run(engine="native"))
    runs, problems = read_results(file)
    assert [run["engine"] for run in runs] == ["litert", "native"]
    assert len(problems) == 1
    assert "bench.jsonl:2: skipped, not whole JSON" in problems[0]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("[1, 2]", "schema is 'list'"),
        ('{"schema": "tinyscene.decision/1"}', "schema is 'tinyscene.decision/1'"),
        ('{"schema": "tinyscene.bench_run/1"}', "at is missing or not str"),
        (json.dumps({"schema": "tinyscene.bench_run/1", **made_up_run(bundle=3)}), "bundle.name is missing"),
        (json.dumps({"schema": "tinyscene.bench_run/1", **made_up_run(hop_ms="250")}), "hop_ms is missing or not int"),
        (json.dumps({"schema": "tinyscene.bench_run/1", **made_up_run(validity__valid=None)}), "validity.valid"),
        ("\x00\x00\x00", "not whole JSON"),
        ("[" * 100_000, "not whole JSON"),
    ],
)
def test_a_damaged_line_is_reported_with_its_number_and_skipped(tmp_path: Path, line: str, why: str) -> None:
    file = tmp_path / "bench.jsonl"
    append_result(file, made_up_run())
    with file.open("a") as handle:
        handle.write(f"\n{line}\n")
    append_result(file, made_up_run())
    runs, problems = read_results(file)
    assert len(runs) == 2
    assert len(problems) == 1
    assert problems[0].startswith(f"{file}:3: skipped, ")
    assert why in problems[0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.data())
def test_any_damage_is_skipped_or_survived(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes cut out, put in or changed anywhere, and any value replaced: reading and the table never fail."""
    file = tmp_path / "bench.jsonl"
    file.unlink(missing_ok=True)
    append_result(file, made_up_run())
    content = file.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, min(len(content), start + 40)))
    file.write_bytes(content[:start] + data.draw(st.binary(max_size=8)) + content[stop:])
    append_result(file, made_up_run(engine_name="after"))
    runs, _ = read_results(file)
    assert runs[-1]["engine_name"] == "after"
    assert main([str(file)]) == 0


def test_a_file_that_cannot_be_written_or_read(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"cannot append to .*folder .*--out"):
        append_result(tmp_path / "folder", made_up_run())
    with pytest.raises(InputError, match=r"cannot read .*nothing.*tinyscene bench"):
        read_results(tmp_path / "nothing.jsonl")


def test_the_program_prints_or_inserts_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, page = tmp_path / "bench.jsonl", tmp_path / "page.md"
    append_result(file, made_up_run())
    with file.open("a") as handle:
        handle.write("nonsense\n")
    assert main([str(file)]) == 0
    shown = capsys.readouterr()
    assert "| Simulated Board 5, Simulated Linux 12 |" in shown.out
    assert "bench.jsonl:2: skipped" in shown.err
    page.write_text(f"before\n\n{BEGIN}\nan older table\n{END}\n\nafter\n")
    for _ in range(2):  # the second time changes nothing
        assert main([str(file), "--into", str(page)]) == 0
        assert page.read_text() == f"before\n\n{BEGIN}\n{shown.out}{END}\n\nafter\n"
    page.write_text("no marks")
    assert main([str(file), "--into", str(page)]) == 2
    assert main([str(tmp_path / "nothing.jsonl")]) == 2
    assert page.read_text() == "no marks"
