"""The microphone that was chosen last, remembered from one call to the next.

`$XDG_STATE_HOME/tinyscene/microphone.json` (`~/.local/state/...` without the variable) holds its name and host API.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from ..atomic import write_file
from .devices import InputDevice

SCHEMA = "tinyscene.microphone/1"


def remembered_path() -> Path | None:
    """Where the choice is kept; None for a user without a home, who has nothing to remember."""
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        # The XDG specification says that a relative path there is to be ignored.
        folder = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return folder / "tinyscene" / "microphone.json"


def remember(device: InputDevice, log: Callable[[str], None]) -> None:
    """Keep `device` as the choice; where nothing can be written, say so on `log` and go on."""
    path = remembered_path()
    if path is None or recall(lambda text: None) == (device.name, device.host_api):
        return
    choice = {"schema": SCHEMA, "name": device.name, "host_api": device.host_api}
    try:
        write_file(path, (json.dumps(choice, indent=1, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        log(f"cannot remember the microphone in {path} ({error.strerror}): give --device again the next time")


def recall(log: Callable[[str], None]) -> tuple[str, str] | None:
    """The name and host API of the choice, or None; a file that cannot be understood is reported on `log`."""
    path = remembered_path()
    try:
        if path is None or not path.is_file():
            return None
        choice = json.loads(path.read_bytes()[:65_536])
        if choice["schema"] == SCHEMA and isinstance(choice["name"], str) and isinstance(choice["host_api"], str):
            return choice["name"], choice["host_api"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    log(f"{path} does not hold a microphone: ignored; `--device NAME` writes it anew")
    return None
