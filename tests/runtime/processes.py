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


#: norewinds: with rewinding the monitor lags by more than a second and loses onsets.
SINK = ("module-null-sink", "sink_name=vmic", "rate=48000", "channels=1", "format=s16le", "norewinds=1")


@dataclass
class VirtualMicrophone:
    """A PulseAudio server of one's own whose one microphone hears what is played to it."""

    environment: dict[str, str]
    folder: Path
    name: str = "vmic"
    sample_rate_hz: int = 48_000
    server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        script = self.folder / "pulse.pa"
        script.write_text(
            f"load-module module-native-protocol-unix socket={self.folder}/native auth-anonymous=1\n"
            f"load-module {' '.join(SINK)}\n"
        )
        options = ["--daemonize=no", "--exit-idle-time=-1", "--disable-shm=yes", "--use-pid-file=no"]
        command = ["pulseaudio", "-n", *options, "--log-target=stderr", "-F", str(script)]
        with (self.folder / "log").open("ab") as log:
            self.server = subprocess.Popen(command, env=self.environment, stderr=log)
        poll_until(lambda: subprocess.run(["pactl", "info"], env=self.environment, capture_output=True).returncode == 0)

    def signal(self, number: int) -> None:
        """Send a signal to the server."""
        assert self.server is not None
        self.server.send_signal(number)

    def kill(self) -> None:
        """Kill the server."""
        assert self.server is not None
        self.server.kill()
        self.server.wait()
        (self.folder / "native").unlink(missing_ok=True)

    def unplug(self) -> None:
        """Take the microphone away from the server."""
        self.pactl("unload-module", "module-null-sink")

    def plug(self) -> None:
        """Give it back."""
        self.pactl("load-module", *SINK)

    def play(self, wav: Path) -> subprocess.Popen[bytes]:
        """Start to play `wav` into the microphone."""
        return subprocess.Popen(["paplay", "-d", self.name, str(wav)], env=self.environment)

    def pactl(self, *arguments: str) -> str:
        """Run `pactl` against the server and return what it says."""
        done = subprocess.run(["pactl", *arguments], env=self.environment, check=True, capture_output=True, text=True)
        return done.stdout
