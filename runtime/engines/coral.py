"""Coral Edge TPU: a .tflite compiled for it, run through libedgetpu as LiteRT's delegate.

`edgetpu_compiler model.tflite` writes `model_edgetpu.tflite`, in which what the TPU runs is one operator of its own.
The bundle is not changed by it: the file lies beside the bundle's others, or `--coral-model` or
`$TINYSCENE_CORAL_MODEL` names it. No Edge TPU was at hand: what the tests load in libedgetpu's place is a stand-in.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..bundle import Bundle
from ..errors import InputError, TinysceneError, UnavailableError
from .engine import check_contract
from .litert import Delegate, LiteRTEngine

#: The name under which edgetpu_compiler puts its operator into a model.
CUSTOM_OP = "edgetpu-custom-op"

#: What edgetpu_compiler calls the compiled model.tflite.
MODEL = "model_edgetpu.tflite"

#: Another library than the system's, which of several TPUs (`usb`, `pci`, `usb:1`), and another compiled model.
LIBRARY_VARIABLE, DEVICE_VARIABLE, MODEL_VARIABLE = (
    "TINYSCENE_EDGETPU_LIBRARY",
    "TINYSCENE_EDGETPU_DEVICE",
    "TINYSCENE_CORAL_MODEL",
)

#: A USB TPU first takes its firmware over the wire, and then is plugged in anew.
TRIAL_S = 60.0

_WHERE = (
    "is it plugged in, and may this user open it (group plugdev, or apex for a card)? `lsusb` has it as 1a6e:089a, or "
    "18d1:9302 once it has run"
)


class CoralEngine(LiteRTEngine):
    """A compiled network on an Edge TPU; `on_processor` operators of it were left to the processor."""

    def __init__(self, model: Path, content: bytes, delegate: Delegate) -> None:
        """Raises as `LiteRTEngine` does."""
        super().__init__(model, content=content, delegate=delegate)
        self.on_processor = sum(kind not in (CUSTOM_OP, "DELEGATE") for kind in self.operators())
        self.name = "Coral Edge TPU"
        if self.on_processor:
            self.name += f", {self.on_processor} operator{'s' * (self.on_processor > 1)} on the processor"


def open_coral(bundle: Bundle, threads: int = 1, model: Path | None = None) -> CoralEngine:
    """The engine of `bundle`'s compiled model, or of `model`, on the first Edge TPU or the one that is asked for.

    It is first tried in a process of its own: a libedgetpu that was built for another TensorFlow Lite than this
    interpreter ends the process that loads it. Raises `InputError` for a model that was not compiled or does not keep
    the bundle's contract, `UnavailableError` without the library, the TPU or a library that fits.
    """
    if threads != 1:
        raise InputError(f"threads is {threads}, expected 1: the Edge TPU has one, leave --threads out")
    model = model or Path(os.environ.get(MODEL_VARIABLE) or bundle.path / MODEL)
    content = _compiled(model, bundle)
    name, device = os.environ.get(LIBRARY_VARIABLE) or "libedgetpu.so.1", os.environ.get(DEVICE_VARIABLE)
    library = _load(name)
    if _devices(library) == 0:
        raise UnavailableError(f"no Edge TPU was found: {_WHERE}")
    delegate = Delegate(name, {"device": device} if device else {})
    _try_out(model, delegate, library)
    try:
        engine = CoralEngine(model, content, delegate)
    except UnavailableError as error:
        wanted = f"no Edge TPU answers to {device!r}" if device else "no Edge TPU answers"
        raise UnavailableError(f"{wanted} ({error}): {_WHERE}, and only one program can use it") from error
    except InputError as error:
        raise _explained(error, model, library) from error
    check_contract(bundle, model, engine.input, engine.output)
    return engine


def _compiled(model: Path, bundle: Bundle) -> bytes:
    """The content of a model that edgetpu_compiler has been over."""
    if not model.is_file():
        raise UnavailableError(
            f"no model for the Edge TPU at {model}: run `edgetpu_compiler -s -o {bundle.path} "
            f"{bundle.path / 'model.tflite'}` on an x86-64 Linux, or name it by --coral-model"
        )
    content = model.read_bytes()
    if CUSTOM_OP.encode() not in content:
        raise InputError(
            f"{model} was not compiled for the Edge TPU (it has no {CUSTOM_OP}), it would run on the CPU: "
            "run `edgetpu_compiler` on model.tflite, and `tinyscene lint --target edgetpu` for what it would not take"
        )
    return content


def _load(name: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise UnavailableError(
            f"the Edge TPU needs its library ({error}): run `apt-get install libedgetpu1-std` with Coral's package "
            "source (coral-edgetpu-stable)"
        ) from error


def _devices(library: ctypes.CDLL) -> int | None:
    """How many TPUs the library sees; None where it cannot be asked."""
    try:
        listing, freeing = library.edgetpu_list_devices, library.edgetpu_free_devices
    except AttributeError:
        return None
    listing.restype, listing.argtypes = ctypes.c_void_p, [ctypes.POINTER(ctypes.c_size_t)]
    freeing.restype, freeing.argtypes = None, [ctypes.c_void_p]
    count = ctypes.c_size_t()
    if found := listing(ctypes.byref(count)):
        freeing(found)
    return count.value


def _versions(library: ctypes.CDLL) -> str:
    """Versions of the two sides that have to fit each other."""
    try:
        telling: Any = library.edgetpu_version
        telling.restype = ctypes.c_char_p
        edgetpu = f"libedgetpu says {(telling() or b'nothing').decode(errors='replace')}"
    except AttributeError:
        edgetpu = "libedgetpu does not tell its version"
    for package in ("ai-edge-litert", "tflite-runtime"):
        try:
            return f"{edgetpu}; {package} is {version(package)}"
        except PackageNotFoundError:
            continue
    return edgetpu


def _try_out(model: Path, delegate: Delegate, library: ctypes.CDLL) -> None:
    """One inference in another process, for what cannot be caught in this one; errors that can are left to this one."""
    device = delegate.options.get("device", "")
    command = [sys.executable, "-m", f"{__package__}.coral_trial", str(model), delegate.library, device]
    try:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TRIAL_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(
            f"the Edge TPU gave no answer within {TRIAL_S:g} s: unplug it, plug it in again, and avoid USB hubs "
            "without power of their own"
        ) from error
    if ended.returncode < 0:
        raise UnavailableError(
            f"{delegate.library} ends the process that uses it ({signal.Signals(-ended.returncode).name}): it was "
            f"built for another TensorFlow Lite ({_versions(library)}): install a libedgetpu made for this interpreter"
        )


def _explained(error: InputError, model: Path, library: ctypes.CDLL) -> TinysceneError:
    """What libedgetpu's words for a model that it does not run mean."""
    text = str(error)
    if found := re.search(r"requires runtime version \((\d+)\).*?runtime version \((\d+)\)", text):
        newer, older = found.groups()
        return InputError(
            f"{model} was compiled for runtime {newer}, libedgetpu has {older}: run `edgetpu_compiler -m {older}` on "
            "model.tflite, or update libedgetpu"
        )
    if "unresolved custom op" in text or "Unsupported data type in custom op" in text:
        return UnavailableError(
            f"libedgetpu does not understand this interpreter ({_versions(library)}): install a libedgetpu made for it"
        )
    return InputError(f"{error} and run `edgetpu_compiler` on it")
