"""The events' file: whole lines in order through rotation, kill -9, a full disk and a second writer."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import json_lines, poll_until
from test_background import numbered

from tinyscene.runtime.errors import InputError
from tinyscene.runtime.events.background import BackgroundSink, DeliveryError
from tinyscene.runtime.events.event import Event
from tinyscene.runtime.events.jsonl import JsonlFile, to_line


def files_of(path: Path) -> list[Path]:
    """The files from the oldest to the newest."""
    numbers = sorted((int(name.suffix[1:]) for name in path.parent.glob(f"{path.name}.*")), reverse=True)
    return [Path(f"{path}.{number}") for number in numbers] + [path]


def events_in(path: Path) -> list[int]:
    """The number of every event, oldest first; each line has to parse."""
    return [line["n"] for name in files_of(path) for line in json_lines(name.read_text())]


def forget(file: JsonlFile) -> None:
    """What a killed program leaves: the lock is gone, nothing else has happened."""
    if file._handle is not None:
        os.close(file._handle)


class StoppedHere(BaseException):
    """A program that ends between two renames."""


#: What happens next: an event with that much text, a kill within a write (so much of a line was written), or a kill
#: after that many renames of the next rotation.
Step = st.one_of(
    st.tuples(st.just("event"), st.integers(0, 300)),
    st.tuples(st.just("torn"), st.integers(1, 6000)),
    st.tuples(st.just("rename"), st.integers(0, 3)),
)


@given(st.lists(Step, max_size=60), st.integers(60, 900), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_the_files_hold_the_newest_events_in_order(steps: list[tuple[str, int]], max_bytes: int, keep: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        file = JsonlFile(path, max_bytes, keep)
        replace, left = Path.replace, [10**9]  # renames before the program is killed

        def counted(self: Path, target: Path) -> Path:
            if not left[0]:
                raise StoppedHere
            left[0] -= 1
            return replace(self, target)

        written: list[int] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "replace", counted)
            for kind, amount in steps:
                if kind == "event":
                    number = len(written)
                    try:
                        file.deliver(numbered(number, text="x" * amount))
                    except StoppedHere:
                        forget(file)
                        left[0] = 10**9
                        file = JsonlFile(path, max_bytes, keep)
                        file.deliver(numbered(number, text="x" * amount))
                    written.append(number)
                elif kind == "rename":
                    left[0] = amount
                else:
                    forget(file)
                    with path.open("ab") as torn:
                        torn.write(to_line(numbered(10**6, text="y" * amount))[:-1][:amount])
                    file = JsonlFile(path, max_bytes, keep)
            left[0] = 10**9
            file.deliver(numbered(len(written)))
            written.append(len(written))
        file.close()
        found = events_in(path)
        assert found == written[len(written) - len(found) :]
        assert len(files_of(path)) <= keep + 1
        for name in files_of(path):
            assert name.stat().st_size <= max_bytes or len(name.read_bytes().splitlines()) == 1
        # Nothing goes before it has to: what was dropped would not fit beside the rest.
        if len(found) < len(written):
            assert len(files_of(path)) == keep + 1


def test_a_line_is_one_flat_object_of_ascii() -> None:
    line = to_line(Event("scene", 1.5, "now", {"scene": "caf\xe9\u2028\nx", "odd": Path("/x"), "nan": float("nan")}))
    assert line.count(b"\n") == 1
    assert len(line.decode("ascii").splitlines()) == 1
    assert json.loads(line) == {
        "schema": "tinyscene.event/1",
        "kind": "scene",
        "t_s": 1.5,
        "at": "now",
        "scene": "caf\xe9\u2028\nx",
        "odd": "/x",
        "nan": None,
    }


WRITER = """
import sys, time
from pathlib import Path
from tinyscene.runtime.events.background import BackgroundSink
from tinyscene.runtime.events.event import Event
from tinyscene.runtime.events.jsonl import JsonlFile
run, n = int(sys.argv[2]), 0
sink = BackgroundSink("file", JsonlFile(Path(sys.argv[1]), 20_000, 10_000), print)
while True:
    while sink.waiting > 500:
        time.sleep(0.001)
    sink.emit(Event("scene", 0.0, "now", {"run": run, "n": n, "text": "x" * (n % 5000)}))
    n += 1
"""


def test_kill_9_leaves_whole_lines_and_the_next_run_appends(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for run in range(3):
        before = len(files_of(path))
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(run)])
        try:
            poll_until(lambda before=before: len(files_of(path)) > before + 3, 60.0)
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
    last = JsonlFile(path, 20_000, 10_000)
    last.deliver(Event("stopped", 0.0, "now", {"run": 3, "n": 0}))
    last.close()
    lines = [line for name in files_of(path) for line in json_lines(name.read_text())]
    for run in range(4):
        mine = [line["n"] for line in lines if line["run"] == run]
        assert mine == list(range(len(mine)))
        assert mine
    assert [line["run"] for line in lines] == sorted(line["run"] for line in lines)


FULL = """
import resource, sys, time
from pathlib import Path
from tinyscene.runtime.events.background import BackgroundSink
from tinyscene.runtime.events.event import Event
from tinyscene.runtime.events.jsonl import JsonlFile, to_line
path, lines = Path(sys.argv[1]), []
event = Event("scene", 0.0, "now", {"n": 0})
limit = 3 * len(to_line(event)) + 10                      # the fourth line fits by ten bytes only
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
class Counted(JsonlFile):
    tries = 0
    def deliver(self, event):
        self.tries += 1
        super().deliver(event)
file = Counted(path, 10**6, 1)
sink = BackgroundSink("file", file, lines.append, first_retry_s=0.01, longest_retry_s=0.01)
for n in range(6):
    sink.emit(Event("scene", 0.0, "now", {"n": n}))
while file.tries < 20:
    time.sleep(0.01)
print(path.stat().st_size == 3 * len(to_line(event)), sink.undelivered, len(lines), "File too large" in lines[0])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
sink.close()
print(sink.undelivered, lines[1:])
"""


def test_a_full_disk_is_waited_for_and_leaves_no_half_line(tmp_path: Path) -> None:
    """The limit on a file's size stands for the disk: the kernel writes what fits, then refuses."""
    path = tmp_path / "events.jsonl"
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["True 3 1 True", "0 ['file: events are delivered again']"]
    assert events_in(path) == list(range(6))


def test_a_disk_error_is_passed_on_and_the_file_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = JsonlFile(tmp_path / "events.jsonl", 10**6, 1)
    file.deliver(numbered(0))

    def broken(handle: int, data: bytes) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", broken)
        with pytest.raises(OSError, match="Input/output error"):
            file.deliver(numbered(1))
    file.deliver(numbered(1))
    file.close()
    assert events_in(file.path) == [0, 1]


def test_a_missing_folder_is_waited_for(tmp_path: Path) -> None:
    path, lines = tmp_path / "stick" / "events.jsonl", []
    sink = BackgroundSink(str(path), JsonlFile(path, 10**6, 1), lines.append, first_retry_s=0.01)
    sink.emit(numbered(0))
    poll_until(lambda: sink.undelivered == 1)
    path.parent.mkdir()
    sink.close()
    assert events_in(path) == [0]
    assert lines[0] == f"{path}: folder {path.parent} is not there; events wait, up to 1,000 of them"


def test_a_file_that_is_moved_away_is_made_anew(tmp_path: Path) -> None:
    file = JsonlFile(tmp_path / "events.jsonl", 10**6, 1)
    file.deliver(numbered(0))
    moved = file.path.rename(tmp_path / "archive")
    file.deliver(numbered(1))
    file.path.unlink()
    file.deliver(numbered(2))
    file.close()
    assert [line["n"] for line in json_lines(moved.read_text())] == [0]
    assert events_in(file.path) == [2]


def test_a_second_writer_waits_for_the_first(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    first, second = JsonlFile(path, 10**6, 1), JsonlFile(path, 10**6, 1)
    first.deliver(numbered(0))
    with pytest.raises(DeliveryError, match="another program writes to"):
        second.deliver(numbered(1))
    first.close()
    second.deliver(numbered(1))
    second.close()
    assert events_in(path) == [0, 1]


@pytest.mark.parametrize(("max_bytes", "keep", "match"), [(0, 1, "0 bytes"), (1, 0, "0 rotated events files")])
def test_sizes_that_cannot_be_meant(tmp_path: Path, max_bytes: int, keep: int, match: str) -> None:
    with pytest.raises(InputError, match=match):
        JsonlFile(tmp_path / "events.jsonl", max_bytes, keep)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a file"):
        JsonlFile(tmp_path, 1, 1)


def test_what_turns_into_no_file_later_is_refused(tmp_path: Path) -> None:
    file = JsonlFile(tmp_path / "events.jsonl", 10**6, 1)
    os.mkfifo(file.path)
    holder: Any = os.open(file.path, os.O_RDWR)
    with pytest.raises(DeliveryError, match="is not a file"):
        file.deliver(numbered(0))
    os.close(holder)
