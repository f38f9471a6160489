"""Programs that tests start: tinyscene itself, and a sound server of one's own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: The program in a process of its own; also where its console script is not on the path.
PROGRAM = [sys.executable, "-c", "import sys; from tinyscene.runtime.cli import main; sys.exit(main())"]


def json_lines(text: str) -> list[dict[str, Any]]:
    """Every line of `text` as the JSON object it must be."""
    return [json.loads(line) for line in text.splitlines()]


def poll_until(ready: Callable[[], bool], limit_s: float = 10.0) -> None:
    """Wait until `ready()` is true; a server's socket gives no other sign."""
    end = time.monotonic() + limit_s
    while not ready():
        assert time.monotonic() < end, "the server did not come up"
        time.sleep(0.01)


APT = "apt-get install -y --no-install-recommends libportaudio2 pulseaudio pulseaudio-utils libasound2-plugins"


@dataclass(frozen=True)
class VirtualMicrophone:
    """A PulseAudio server of one's own whose one microphone hears what is played to it."""

    environment: dict[str, str]
    server: subprocess.Popen[bytes]
    name: str = "vmic"
    sample_rate_hz: int = 48_000

    def play(self, wav: Path) -> subprocess.Popen[bytes]:
        """Start to play `wav` into the microphone."""
        return subprocess.Popen(["paplay", "-d", self.name, str(wav)], env=self.environment)

    def pactl(self, *arguments: str) -> str:
        """Run `pactl` against the server and return what it says."""
        done = subprocess.run(["pactl", *arguments], env=self.environment, check=True, capture_output=True, text=True)
        return done.stdout
