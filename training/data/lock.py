"""One process at a time in a folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...runtime.output import Output


@contextmanager
def lock(folder: Path, what: str, output: Output | None) -> Iterator[None]:
    """Hold the lock of `folder`; while another process holds it, say once that `what` is waited for.

    The kernel drops the lock with the process, so one that was killed leaves none behind.
    """
    with (folder / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if output is not None:
                output.log(f"waiting for another process that is {what}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
