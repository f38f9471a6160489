"""What one engine takes to start and to hold, in a process of its own: `python -m ...footprint BUNDLE ENGINE THREADS`.

Memory of an engine cannot be told apart in a process that has others loaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

#: An engine may compile itself first, or wait for an accelerator's firmware.
LIMIT_S = 120.0


@dataclass(frozen=True)
class Footprint:
    """Memory that an engine adds to a process, and the time from nothing to its first answer."""

    memory_mb: float | None  # resident, after three inferences, above the process with the bundle; None where unknown
    start_s: float


def footprint(bundle: Path, engine: str, threads: int = 1) -> Footprint | None:
    """Start a process that opens `engine` on `bundle`; None when it does not come to an answer."""
    command = [sys.executable, "-m", __name__, str(bundle), engine, str(threads)]
    began_s = time.perf_counter()
    try:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S, check=True)
        told = json.loads(ended.stdout)
    except (subprocess.SubprocessError, ValueError):
        return None
    # Linux has one such clock for all processes.
    return Footprint(told["memory_mb"], told["answered_s"] - began_s)


def main(bundle: Path, engine: str, threads: int) -> None:
    """What the process does: one line of JSON."""
    import numpy as np

    from ..bundle import load_bundle
    from ..engines.catalogue import open_named_engine, warm_up
    from ..machine.usage import read_memory

    loaded = load_bundle(bundle)
    spec = loaded.frontend
    window = np.zeros((spec.n_mels, spec.n_frames()), np.float32)
    before = read_memory().rss_bytes
    opened = open_named_engine(loaded, engine, threads=threads)
    warm_up(opened, window, runs=1)
    answered_s = time.perf_counter()
    warm_up(opened, window, runs=2)
    after = read_memory().rss_bytes
    memory_mb = None if before is None or after is None else (after - before) / 1e6
    print(json.dumps({"memory_mb": memory_mb, "answered_s": answered_s}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
