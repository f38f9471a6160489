"""The host's side of the serial protocol: the right numbers from a good board, a clear error from any other."""

from __future__ import annotations

import json
import socket
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import stub_model
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_board import InProcessBoard, build_firmware, build_in_process, connect, running

from tinyscene.firmware_bench.boards.link import LONGEST_LINE, MOST_LINES, BoardError, Link, open_link
from tinyscene.firmware_bench.boards.protocol import Board
from tinyscene.firmware_bench.boards.session import compare, measure_energy, open_session, time_inferences
from tinyscene.runtime.errors import GateError, InputError, TinysceneError, UnavailableError

SHORT_S = 0.05
PLANE = stub_model.random_plane(10)
LOGITS = stub_model.logits(PLANE)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_in_process(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_firmware(tmp_path_factory.mktemp("firmware"))


def good(library: Path) -> tuple[InProcessBoard, Link]:
    """A board in this process and a synchronised link to it."""
    serial = InProcessBoard(library)
    link = Link(serial, "the stub", SHORT_S)
    link.synchronize(1.0)
    return serial, link


class Scripted:
    """A port whose board says what it was told to, whatever it is asked: the n-th answer to the n-th command."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.inbox = bytearray()
        self.timeout = self.write_timeout = 0.0

    @property
    def in_waiting(self) -> int:
        return len(self.inbox)

    def write(self, data: bytes) -> int:
        if self.answers:
            self.inbox += self.answers.pop(0)
        return len(data)

    def read(self, size: int) -> bytes:
        data = bytes(self.inbox[:size])
        del self.inbox[:size]
        return data

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class Babbling(Scripted):
    """A board that never stops."""

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self.text = text
        self.in_reply = False

    @property
    def in_waiting(self) -> int:
        return LONGEST_LINE if self.in_reply else 0

    def write(self, data: bytes) -> int:
        self.in_reply = True
        return len(data)

    def read(self, size: int) -> bytes:
        return (self.text * (size // len(self.text) + 1))[:size] if self.in_reply else b""


def test_a_session_with_a_board_behind_a_terminal(program: Path, tmp_path: Path) -> None:
    inputs = np.stack([stub_model.random_plane(seed) for seed in range(2)])
    reference = np.stack([stub_model.logits(plane) for plane in inputs])
    with running(program, tmp_path) as terminal, open_link(terminal.path) as link:
        board, identity = open_session(link, contract=stub_model.CONTRACT, labels=stub_model.LABELS, input_bytes=16384)
        assert (identity.name, identity.model, identity.arena_bytes) == ("tinyscene", "stub", 1024)
        done: list[tuple[int, int]] = []
        parity, upload_s = compare(board, inputs, reference, progress=lambda i, n: done.append((i, n)))
        assert (parity.inputs, parity.differing_bytes, parity.distinct_outputs, parity.exact) == (2, 0, 2, True)
        assert done == [(1, 2), (2, 2)]
        assert 0 < upload_s < 60
        start = time.monotonic()
        latency = time_inferences(board, 20, 2)
        wall_ms = 1e3 * (time.monotonic() - start)
        assert latency is not None
        assert 0 < latency.least_ms <= latency.median_ms <= latency.p95_ms <= latency.most_ms < wall_ms


def test_latency_is_what_the_boards_clock_says(library: Path) -> None:
    """1.5 ms an inference, on a clock that wraps at 2^32 microseconds in the first."""
    _, link = good(library)
    latency = time_inferences(Board(link), 20, 1)
    assert latency is not None
    assert (latency.median_ms, latency.p95_ms, latency.inferences) == (1.5, 1.5, 20)


def test_p95_is_the_smallest_time_that_95_percent_do_not_exceed(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, link = good(library)
    board = Board(link)
    real = board.infer(1, 0, 1.0)
    times = iter([*range(1000, 20000, 1000), 500_000])  # 1..19 ms and an outlier
    monkeypatch.setattr(board, "infer", lambda *_: type(real)(1, next(times), real.probabilities, 0.0))
    latency = time_inferences(board, 20, 0)
    assert latency is not None
    assert (latency.median_ms, latency.p95_ms, latency.most_ms) == (10.5, 19.0, 500.0)


def test_a_wrong_byte_is_counted_and_shown(library: Path) -> None:
    _, link = good(library)
    wrong = LOGITS.copy()
    wrong[3] ^= 1
    parity, _ = compare(Board(link), np.stack([PLANE, PLANE]), np.stack([LOGITS, wrong]))
    assert (parity.inputs, parity.differing_inputs, parity.differing_bytes) == (2, 1, 1)
    assert parity.first_difference is not None
    assert parity.first_difference.startswith("input 1: the board gave")
    assert not parity.exact


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"contract": "ffff"}, "front-end contract"),
        ({"labels": ("park", "tram")}, "labels"),
        ({"input_bytes": 100}, "input size"),
    ],
)
def test_another_model_on_the_board_is_refused(library: Path, changed: dict[str, object], words: str) -> None:
    _, link = good(library)
    expected = {"contract": stub_model.CONTRACT, "labels": stub_model.LABELS, "input_bytes": 16384, **changed}
    with pytest.raises(InputError, match=f"differ in {words}"):
        open_session(link, **expected)  # type: ignore[arg-type]


def test_synchronize_finds_the_end_of_what_was_before(library: Path) -> None:
    serial = InProcessBoard(library)  # its banner waits to be read
    serial.write(b"db load 100%infer 1 0%infer")  # and a dead program's commands, the last one cut
    link = Link(serial, "the stub", SHORT_S)
    link.synchronize(2.0)
    assert link.command("name").lines == ("m-name-dut-[tinyscene]",)


def test_a_reset_in_the_middle_is_noticed(library: Path) -> None:
    serial, link = good(library)
    board = Board(link)
    board.load(PLANE.tobytes())
    serial.reset()
    with pytest.raises(BoardError, match="started again"):
        board.infer(1, 0, SHORT_S)
    link.synchronize(1.0)
    with pytest.raises(BoardError, match="No inference was run yet"):
        board.logits()
    board.load(PLANE.tobytes())
    board.infer(1, 0, SHORT_S)
    assert board.logits() == tuple(LOGITS.tolist())


def test_a_reset_of_the_process_in_the_middle_of_a_load(program: Path, tmp_path: Path) -> None:
    with running(program, tmp_path) as terminal, connect(terminal) as link:
        link.command("db load 16384")
        link.command("db 00112233")
        terminal.reset()
        with pytest.raises(BoardError, match=r"started again|No db load is running"):
            Board(link).load(PLANE.tobytes()[:38])
        link.synchronize()
        Board(link).load(PLANE.tobytes())


def test_a_reset_inside_a_reply_is_noticed() -> None:
    answer = b"m-warmup-start-0\r\nm-warmm-timestamp-mode-performance\r\nm-init-done\r\nm-ready\r\n"
    with pytest.raises(BoardError, match="started again"):
        Board(Link(Scripted(answer), "port", SHORT_S)).infer(1, 0, SHORT_S)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "nothing came"),
        (b"m-name-dut-[x]\r\n", "the last of 1 lines was 'm-name-dut"),
        (b"m-name-dut-[x]\r\nm-read", "no m-ready"),
        (b"m-ready\r\n", "expected"),
        (b"\x80\xff\xfe\r\nm-ready\r\n", "damaged line"),
        (b"m-na\x00me\r\nm-ready\r\n", "damaged line"),
        (b"x" * (LONGEST_LINE + 100), "without the end of a line"),
        (b"\r\n" * (MOST_LINES + 10), "lines and no m-ready"),
        (b"e-[Unknown command: name]\r\nm-ready\r\n", "tinyscene firmware build"),
        (b"e-[Too hot]\r\nm-ready\r\n", "refused: e-.Too hot"),
        (b"m-name-dut-[x]\r\nm-name-dut-[y]\r\nm-ready\r\n", "lines"),
    ],
)
def test_an_answer_that_is_not_one(answer: bytes, words: str) -> None:
    check = b"m-check-[00000000]\r\nm-ready\r\n"
    if b"m-ready\r\n" in answer:
        check = b"m-check-[%08x]\r\nm-ready\r\n" % zlib.crc32(answer)
    with pytest.raises(BoardError, match=words):
        Board(Link(Scripted(answer, check), "port", SHORT_S)).identify()


@pytest.mark.parametrize("text", [b"x", b"x\r\n", b"\x00\xff", b"m-ready"])
def test_a_board_that_never_stops_is_given_up(text: bytes) -> None:
    start = time.monotonic()
    with pytest.raises(BoardError):
        Link(Babbling(text), "port", SHORT_S).command("name")
    with pytest.raises(BoardError):
        Link(Babbling(text), "port").synchronize(SHORT_S)
    assert time.monotonic() - start < 5


def test_bytes_that_nobody_asked_for_are_no_reply() -> None:
    port = Scripted(b"m-ready\r\n")
    port.inbox += b"m-name-dut-[other]\r\nm-ready\r\n"
    with pytest.raises(BoardError, match="nobody asked for"):
        Link(port, "port", SHORT_S).command("name")


def test_a_silent_port_says_so() -> None:
    with pytest.raises(BoardError, match="nothing came: check the cable"):
        Link(Scripted(), "/dev/ttyX").synchronize(SHORT_S)


def test_garbage_hints_at_the_baud_rate() -> None:
    with pytest.raises(BoardError, match="check --baud"):
        Link(Scripted(b"\xfe\x80\n" * 9), "/dev/ttyX").synchronize(SHORT_S)


@pytest.mark.parametrize("text", ["x" * 80, "a%b", "a\nb"])
def test_what_is_no_command_is_not_sent(library: Path, text: str) -> None:
    serial, link = good(library)
    sent = serial.sent
    with pytest.raises(InputError, match="is no command"):
        link.command(text)
    assert serial.sent == sent


def test_a_port_that_is_not_there() -> None:
    with pytest.raises(UnavailableError, match="list_ports"):
        open_link("/dev/ttyNotThere")
    with pytest.raises(UnavailableError, match="cannot open"):
        open_link("gopher://somewhere")
    with pytest.raises(InputError, match="--baud"):
        open_link("/dev/ttyACM0", 0)


def test_a_port_that_goes_away(program: Path, tmp_path: Path) -> None:
    """The other end of a socket closes in the middle of a reply."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            connection.recv(100)
            connection.sendall(b"m-name")
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        with open_link(f"socket://127.0.0.1:{server.getsockname()[1]}") as link, pytest.raises(BoardError):
            link.command("name", 2.0)
        thread.join(10)


@pytest.mark.parametrize(("at", "byte"), [(40, b""), (40, b"7"), (30_000, b"0"), (30_001, b"!"), (30_002, b"%")])
def test_damage_to_an_upload_never_goes_unnoticed(library: Path, at: int, byte: bytes) -> None:
    serial, link = good(library)
    start = serial.sent
    changed: list[int] = []

    def damage(way: str, position: int, original: int) -> bytes:
        if way == "out" and position == start + at:
            changed.append(original)
            return byte
        return bytes([original])

    serial.damage = damage
    board = Board(link)
    try:
        board.load(PLANE.tobytes())
    except BoardError:
        pass
    else:
        assert bytes(changed) == byte  # it happened to be the same character
    assert changed


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.just("out"), st.integers(0, 140)) | st.tuples(st.just("in"), st.integers(0, 900)),
    st.sampled_from(["drop", "flip", "double", "cut", "reset"]),
    st.integers(1, 255),
)
def test_a_line_with_a_fault_gives_the_truth_or_an_error(
    library: Path, place: tuple[str, int], fault: str, mask: int
) -> None:
    """Everything but the long upload, with one fault at any place: never another number, never a wait without end."""
    way, at = place
    serial, link = good(library)
    start = serial.sent if way == "out" else serial.received
    state = {"cut": False}

    def damage(which: str, position: int, original: int) -> bytes:
        if which != way or position < start + at:
            return bytes([original])
        if fault == "cut":
            return b""
        if position > start + at:
            return bytes([original])
        if fault == "reset" and not state["cut"]:
            state["cut"] = True
            serial.damage = None
            serial.reset()
            return b""
        return {"drop": b"", "flip": bytes([original ^ mask]), "double": bytes([original, original])}.get(fault, b"")

    serial.damage = damage
    board = Board(link)
    try:
        identity = board.identify()
        inference = board.infer(3, 1, SHORT_S)
        logits = board.logits()
    except TinysceneError:
        return
    assert identity.labels == stub_model.LABELS
    assert identity.contract == stub_model.CONTRACT
    assert (identity.name, identity.model, identity.input_bytes, identity.arena_bytes) == (
        "tinyscene", "stub", 16384, 1024,
    )  # fmt: skip
    assert inference.elapsed_us == 3 * 1500
    assert logits == tuple(stub_model.logits(np.zeros((256, 64), np.int8)).tolist())


class Meter:
    """Two joules, whatever was done."""

    name = "a constant"

    def __init__(self, joules: float) -> None:
        self.joules = joules
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> float:
        self.calls.append("stop")
        return self.joules


def test_energy_is_shared_among_the_inferences(library: Path) -> None:
    _, link = good(library)
    meter = Meter(2.0)
    energy = measure_energy(Board(link), meter, 100, 5.0)
    assert (energy.energy_mj, energy.inferences, meter.calls) == (20.0, 100, ["start", "stop"])
    with pytest.raises(GateError, match="expected a number above 0"):
        measure_energy(Board(link), Meter(float("nan")), 1, 5.0)


def test_a_meter_is_stopped_when_the_board_fails() -> None:
    meter = Meter(1.0)
    with pytest.raises(BoardError):
        measure_energy(Board(Link(Scripted(), "port", SHORT_S)), meter, 1, SHORT_S)
    assert meter.calls == ["start", "stop"]


def test_a_session_is_plain_json(library: Path) -> None:
    from tinyscene.firmware_bench.boards.session import Session

    _, link = good(library)
    board, identity = open_session(link, contract=stub_model.CONTRACT, labels=stub_model.LABELS, input_bytes=16384)
    parity, upload_s = compare(board, PLANE[None], LOGITS[None])
    session = Session("p", 115200, identity, parity, time_inferences(board, 2, 0), None, upload_s)
    values = json.loads(json.dumps(session.to_dict(), allow_nan=False))
    assert values["schema"] == "tinyscene.board/1"
    assert values["parity"]["differing_bytes"] == 0
    assert values["latency"]["median_ms"] == 1.5
