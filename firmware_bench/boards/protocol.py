"""The commands of the MLPerf Tiny protocol, and what has to come back; `../c/ts_protocol.h` is the other side."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from .link import COMMAND_LENGTH, BoardError, Link, Reply

#: Bytes that one `db` line carries.
LINE_BYTES = (COMMAND_LENGTH - len("db %")) // 2

_MINUS = r"-?\d{1,3}"


@dataclass(frozen=True)
class Identity:
    """Who answers: vendor, versions, labels, the hash of the front-end contract, sizes in bytes."""

    name: str
    firmware: str
    model: str
    labels: tuple[str, ...]
    contract: str
    input_bytes: int
    arena_bytes: int


@dataclass(frozen=True)
class Inference:
    """The reply to `infer`: microseconds on the board's clock between its two timestamps, None in energy mode."""

    count: int
    elapsed_us: int | None
    probabilities: tuple[float, ...]
    elapsed_host_s: float


class Board:
    """A board that runs this project's firmware; raises `BoardError` for every reply that is not as it must be."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def identify(self) -> Identity:
        """Ask for everything that does not change."""
        name = self._one("name", r"m-name-dut-\[(.+)\]")
        profile = self._expect(self._checked("profile"), (r"m-profile-\[(.+)\]", r"m-model-\[(.+)\]"))
        labels = self._one("labels", r"m-labels-\[(.+)\]").split(",")
        contract = self._one("contract", r"m-contract-\[([0-9a-f]*)\]")
        input_bytes, _ = self._input()
        arena = int(self._one("arena", r"m-arena-\[(\d{1,10})\]"))
        return Identity(name, profile[0], profile[1], tuple(labels), contract, input_bytes, arena)

    def load(self, data: bytes) -> None:
        """Upload an input plane, and compare the checksum of what the board then holds."""
        self._expect(self.link.command(f"db load {len(data)}"), (rf"m-\[Expecting {len(data)} bytes\]",))
        for start in range(0, len(data), LINE_BYTES):
            chunk = data[start : start + LINE_BYTES]
            last = start + LINE_BYTES >= len(data)
            self._expect(self.link.command(f"db {chunk.hex()}"), ("m-load-done",) if last else ())
        held, crc = self._input()
        if held != len(data) or crc != zlib.crc32(data):
            raise BoardError(
                f"board on {self.link.name} holds {held} bytes with checksum {crc:08x} after the upload of {len(data)} "
                f"with {zlib.crc32(data):08x}: bytes were damaged on the way, run it again or lower --baud"
            )

    def infer(self, count: int, warmup: int, timeout_s: float) -> Inference:
        """Run `warmup` inferences, then time `count`; `timeout_s` is for all of them."""
        reply = self._checked(f"infer {count} {warmup}", timeout_s)
        start = (f"m-warmup-start-{warmup}", "m-warmup-done", f"m-infer-start-{count}")
        end = ("m-infer-done", r"m-results-\[([0-9.,]+)\]")
        timed = any(line.startswith("m-lap-us-") for line in reply.lines)
        lap = r"m-lap-us-(\d{1,20})"
        found = self._expect(reply, (*start, lap, lap, *end) if timed else (*start, *end))
        elapsed_us = int(found[1]) - int(found[0]) if timed else None
        if elapsed_us is not None and elapsed_us <= 0:
            raise self._wrong(reply, f"timestamps that grow, got {found[0]} and {found[1]}")
        return Inference(count, elapsed_us, self._probabilities(reply, found[-1]), reply.elapsed_s)

    def logits(self) -> tuple[int, ...]:
        """The int8 logits of the last inference."""
        values = self._one("logits", rf"m-logits-\[({_MINUS}(?:,{_MINUS})*)\]")
        logits = tuple(int(value) for value in values.split(","))
        if any(not -128 <= value <= 127 for value in logits):
            raise BoardError(f"board on {self.link.name} gave logits {values}: expected int8")
        return logits

    def _input(self) -> tuple[int, int]:
        """Size of the input buffer and CRC-32 of what it holds."""
        size, crc = self._expect(self._checked("input"), (r"m-input-\[(\d{1,10}),([0-9a-f]{8})\]",))
        return int(size), int(crc, 16)

    def _one(self, command: str, pattern: str) -> str:
        return self._expect(self._checked(command), (pattern,))[0]

    def _checked(self, command: str, timeout_s: float | None = None) -> Reply:
        """A reply of which the board has confirmed every byte, so that no digit of it can have changed on the way."""
        reply = self.link.command(command, timeout_s)
        check = self.link.command("check")
        found = self._expect(check, (r"m-check-\[([0-9a-f]{8})\]",))[0]
        if int(found, 16) != reply.crc:
            raise BoardError(
                f"board on {self.link.name}, command {command!r}: the reply was damaged on the way (checksum "
                f"{reply.crc:08x}, the board sent {found}): check the cable, lower --baud and run it again"
            )
        return reply

    def _expect(self, reply: Reply, patterns: Sequence[str]) -> tuple[str, ...]:
        """The groups of `patterns`, which are the whole reply, one a line."""
        groups: list[str] = []
        for pattern, line in zip(patterns, reply.lines, strict=False):
            match = re.fullmatch(pattern, line)
            if match is None:
                raise self._wrong(reply, _plain(pattern))
            groups += match.groups()
        if len(reply.lines) != len(patterns):
            raise self._wrong(reply, f"{len(patterns)} lines, got {len(reply.lines)}")
        return tuple(groups)

    def _wrong(self, reply: Reply, expected: str) -> BoardError:
        about = f"board on {self.link.name}, command {reply.command!r:.40}"
        refusal = next((line for line in reply.lines if line.startswith("e-[")), None)
        if refusal is not None and "Unknown command" in refusal:
            return BoardError(f"{about}: {refusal:.120}; build its firmware with `tinyscene firmware build`")
        if refusal is not None:
            return BoardError(f"{about} was refused: {refusal:.120}")
        return BoardError(f"{about}: expected {expected}, got {' | '.join(reply.lines)!r:.160}")

    def _probabilities(self, reply: Reply, values: str) -> tuple[float, ...]:
        try:
            probabilities = tuple(float(value) for value in values.split(","))
        except ValueError:
            raise self._wrong(reply, "numbers in m-results") from None
        if not 0.99 < sum(probabilities) < 1.01:
            raise self._wrong(reply, f"probabilities that sum to 1, got {sum(probabilities):g}")
        return probabilities


def _plain(pattern: str) -> str:
    """A pattern as the line that a person would look for."""
    return re.sub(r"\\(.)", r"\1", re.sub(r"\((?:\?:)?[^()]*(?:\([^()]*\)[^()]*)*\)", "..", pattern))
