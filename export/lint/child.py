"""A target's own tool in a child process, so that its crash or its hang is a line in the lint and nothing more."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: Seconds that a tool may take: Edge TPU's compiler gives up on a model by itself after 180.
TIMEOUT_S = 200.0

MAX_OUTPUT_BYTES = 4 << 20


@dataclass(frozen=True)
class Finished:
    """How a tool ended: `status` None when it was stopped after the time it may take."""

    status: int | None
    text: str  # stdout and stderr together

    def ending(self) -> str:
        """What went wrong, in words."""
        if self.status is None:
            return "did not end in time"
        last = next((line.strip() for line in reversed(self.text.splitlines()) if line.strip()), "")
        how = f"crashed (signal {-self.status})" if self.status < 0 else f"ended with exit code {self.status}"
        return f"{how}: {last[:200]}" if last else how


def run_tool(command: Sequence[str], folder: Path, timeout_s: float = TIMEOUT_S) -> Finished:
    """Run `command` in `folder`, which also takes its output, and wait for it."""
    log = folder / "tool.log"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with log.open("wb") as printed:
        try:
            child = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            return Finished(127, f"cannot be started: {error.strerror}")
        status: int | None
        try:
            status = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            # Its own children too: a compiler may have started some.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    with log.open("rb") as printed:
        return Finished(status, printed.read(MAX_OUTPUT_BYTES).decode(errors="replace"))
