"""The results file: one JSON object a line, appended by any number of programs at once.

`python -m tinyscene.runtime.bench.results FILE...` writes the hardware table of all of them, `--into PAGE` between that
page's marks.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..atomic import write_file
from ..errors import InputError, TinysceneError
from ..output import plain

SCHEMA = "tinyscene.bench_run/1"

#: Between these lines of a page the table is replaced.
BEGIN, END = "<!-- hardware table: begin -->", "<!-- hardware table: end -->"


def append_result(path: Path, fields: Mapping[str, Any]) -> None:
    """Add one line to `path`, whole and on disk when this returns, whoever else is appending.

    A line that a power cut left unfinished is ended first, so that it spoils nothing but itself. Raises `InputError`
    when the file cannot be written.
    """
    line = json.dumps({"schema": SCHEMA, **plain(dict(fields))}, allow_nan=False, ensure_ascii=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if file.seek(0, os.SEEK_END) and _last_byte(file.fileno()) != b"\n":
                line = "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(
            f"cannot append to {path} ({error.strerror}): choose another file with --out, or --out - for none"
        ) from error


def read_results(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The runs in `path`, and one sentence for every line that is none; raises `InputError` when it cannot be read."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): make results with `tinyscene bench`") from error
    runs, problems = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            run = json.loads(line)
        except (ValueError, RecursionError):
            problems.append(f"{path}:{number}: skipped, not whole JSON: {line[:40]!r}")
            continue
        problem = _missing(run)
        if problem:
            problems.append(f"{path}:{number}: skipped, {problem}")
        else:
            runs.append(run)
    return runs, problems


#: What a run's line must hold for the table, and as what; a dot goes one level down.
_EXPECTED: dict[str, tuple[type, ...]] = {
    "at": (str,),
    "bundle.name": (str,),
    "bundle.model_sha256": (str,),
    "machine.processor": (str,),
    "machine.system": (str,),
    "machine.date": (str,),
    "engine": (str,),
    "engine_name": (str,),
    "threads": (int,),
    "hop_ms": (int, float),
    "source.paced": (bool,),
    "latency.stages.latency": (dict,),
    "latency.microphone_to_decision": (dict,),
    "latency.deadline_misses": (int,),
    "latency.decisions": (int,),
    "start_up.median_s": (int, float),
    "memory": (dict,),
    "temperature_c": (dict,),
    "validity.valid": (bool,),
    "validity.reasons": (list,),
}


def _missing(run: Any) -> str | None:
    """What keeps `run` from being a run, or None."""
    if not isinstance(run, dict) or run.get("schema") != SCHEMA:
        found = run.get("schema") if isinstance(run, dict) else type(run).__name__
        return f"schema is {found!r}, expected {SCHEMA!r}"
    for name, kinds in _EXPECTED.items():
        value: Any = run
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if not isinstance(value, kinds):
            return f"{name} is missing or not {' or '.join(kind.__name__ for kind in kinds)}"
    return None


def replace_table(page: str, table: str, where: Path) -> str:
    """`page` with what is between its marks replaced by `table`; raises `InputError` when it has no marks."""
    begin, end = page.find(BEGIN), page.find(END)
    if not 0 <= begin < end:
        raise InputError(f"{where} has no lines {BEGIN} and {END}: add them where the table belongs")
    return page[: begin + len(BEGIN)] + "\n" + table + "\n" + page[end:]


def main(argv: Sequence[str] | None = None) -> int:
    """Print or insert the table; exit code 2 when a file cannot be read."""
    from .hardware import hardware_table

    parser = argparse.ArgumentParser(
        prog="python -m tinyscene.runtime.bench.results",
        description="write the hardware table from what `tinyscene bench` appended to its results files",
        epilog="example:\n  python -m tinyscene.runtime.bench.results docs/results/*.jsonl --into docs/benchmark.md",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="results files (JSON lines)")
    parser.add_argument("--into", type=Path, metavar="PAGE", help=f"page with the lines {BEGIN} and {END}")
    arguments = parser.parse_args(argv)
    try:
        runs: list[dict[str, Any]] = []
        for path in arguments.files:
            found, problems = read_results(path)
            runs += found
            for problem in problems:
                print(problem, file=sys.stderr)
        table = hardware_table(runs)
        if arguments.into is None:
            print(table)
        else:
            page = arguments.into.read_text(encoding="utf-8")
            write_file(arguments.into, replace_table(page, table, arguments.into).encode())
    except (TinysceneError, OSError) as error:
        print(f"results: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, TinysceneError) else 2
    return 0


def _last_byte(descriptor: int) -> bytes:
    return os.pread(descriptor, 1, os.fstat(descriptor).st_size - 1)


if __name__ == "__main__":
    sys.exit(main())
