"""One model in one child process: the job in a folder, the reply from it, and what went wrong in a line.

The folder holds `job.json`, the model, `inputs.bin`, and afterwards `reply.json` with `reply.bin`. Arrays travel as raw
little-endian bytes with their name, dtype and shape in the JSON, which Python and JavaScript both read in a few lines.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import UnavailableError
from .engine import EngineError, RefusedError

#: Seconds that an engine may take to start, TensorFlow on a busy machine included, and for each input.
START_S = 90.0
INPUT_S = 2.0

#: Bytes of a reply that are read: the layers of the published network take 3 MB.
MAX_REPLY_BYTES = 512 << 20

_DTYPES = ("bool", "int8", "uint8", "int16", "int32", "int64", "float32", "float64")


def run_child(
    name: str,
    command: Sequence[str],
    files: Mapping[str, bytes],
    job: Mapping[str, Any],
    inputs: NDArray[Any],
    timeout_s: float | None = None,
) -> dict[str, NDArray[Any]]:
    """Run `command FOLDER` on a folder with `files`, `job` and `inputs` (n, ...); returns the arrays of its reply.

    Raises `UnavailableError` when the child could not import its interpreter, and `EngineError` when it crashed, ran
    into the timeout (by default by the number of inputs) or refused the model.
    """
    limit = START_S + INPUT_S * len(inputs) if timeout_s is None else timeout_s
    with tempfile.TemporaryDirectory(prefix="tinyscene-engine-") as folder:
        place = Path(folder)
        for file, data in files.items():
            (place / file).write_bytes(data)
        (place / "inputs.bin").write_bytes(_little(inputs).tobytes())
        shape = {"dtype": inputs.dtype.name, "shape": list(inputs.shape)}
        (place / "job.json").write_text(json.dumps({**job, "inputs": shape}))
        status, printed = _wait(name, [*command, folder], place, limit)
        reply = _reply(place)
        if reply is None or status:
            raise EngineError(f"{name} {_ending(status)}{printed}: see whether the model is one it can run")
        if "error" in reply:
            text = _line(str(reply["error"]))
            if reply.get("unavailable"):
                raise UnavailableError(f"{name} cannot be started ({text})")
            raise RefusedError(f"{name} cannot run the model ({text})")
        return _arrays(name, reply.get("arrays"), (place / "reply.bin").read_bytes())


def _wait(name: str, command: list[str], place: Path, limit: float) -> tuple[int, str]:
    """Exit status and the last line that the child printed, as ", after saying ..."."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONDONTWRITEBYTECODE": "1"}
    with (place / "printed").open("wb+") as printed:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise UnavailableError(f"{name} cannot be started ({error})") from error
        try:
            status = child.wait(limit)
        except subprocess.TimeoutExpired:
            raise EngineError(f"{name} did not answer within {limit:.0f} s and was stopped") from None
        finally:
            # Whatever ends this, Ctrl-C included, leaves no process behind.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        printed.seek(max(0, printed.seek(0, os.SEEK_END) - 4096))
        lines = printed.read().decode(errors="replace").strip().splitlines()
    return status, f", after saying {_line(lines[-1])!r}" if lines else ""


def _ending(status: int) -> str:
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"crashed ({signal.Signals(-status).name})"
        return f"was ended by signal {-status}"
    return f"ended with status {status} and no answer"


def _reply(place: Path) -> dict[str, Any] | None:
    file = place / "reply.json"
    if not file.is_file() or file.stat().st_size > 4 << 20:
        return None
    try:
        reply = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return None
    return reply if isinstance(reply, dict) else None


def _arrays(name: str, entries: Any, data: bytes) -> dict[str, NDArray[Any]]:
    arrays, offset = {}, 0
    try:
        if len(data) > MAX_REPLY_BYTES:
            raise ValueError(f"{len(data)} bytes")
        for entry in entries:
            if entry["dtype"] not in _DTYPES or min(entry["shape"], default=0) < 0:
                raise ValueError(f"an array of {entry['dtype']} {entry['shape']}")
            dtype = np.dtype(entry["dtype"]).newbyteorder("<")
            count = int(np.prod(entry["shape"], dtype=np.int64))
            values = np.frombuffer(data, dtype, count, offset).reshape(entry["shape"])
            arrays[str(entry["name"])] = values.astype(dtype.newbyteorder("="))
            offset += count * dtype.itemsize
    except (KeyError, TypeError, ValueError) as error:
        raise EngineError(f"{name} gave an answer that cannot be read ({error})") from error
    return arrays


def _little(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<"))


def _line(text: str) -> str:
    """The first line of `text`, of bounded length."""
    return (text.strip().splitlines() or ["no reason given"])[0][:300].rstrip(".")
