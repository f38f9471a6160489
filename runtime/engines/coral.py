"""Coral Edge TPU: a .tflite compiled for it, run through libedgetpu as LiteRT's delegate.

`edgetpu_compiler model.tflite` writes `model_edgetpu.tflite`, in which what the TPU runs is one operator of its own.
The bundle is not changed by it: the file lies beside the bundle's others, or `$TINYSCENE_CORAL_MODEL` names it.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from ..bundle import Bundle
from ..errors import InputError, UnavailableError
from .engine import Engine, check_contract
from .litert import Delegate, LiteRTEngine

#: The name under which edgetpu_compiler puts its operator into a model.
CUSTOM_OP = b"edgetpu-custom-op"

MODEL = "model_edgetpu.tflite"

#: Another library than the system's, and which of several TPUs (`usb`, `pci`, `usb:1`).
LIBRARY_VARIABLE, DEVICE_VARIABLE, MODEL_VARIABLE = (
    "TINYSCENE_EDGETPU_LIBRARY",
    "TINYSCENE_EDGETPU_DEVICE",
    "TINYSCENE_CORAL_MODEL",
)


def open_coral(bundle: Bundle, threads: int = 1) -> Engine:
    """The engine of `bundle`'s compiled model on the first Edge TPU, or the one that the environment names.

    Raises `InputError` for a model that was not compiled or does not keep the bundle's contract, `UnavailableError`
    without the library or the TPU.
    """
    if threads != 1:
        raise InputError(f"threads is {threads}, expected 1: the Edge TPU has one, leave --threads out")
    model = Path(os.environ.get(MODEL_VARIABLE) or bundle.path / MODEL)
    if not model.is_file():
        raise UnavailableError(
            f"no model for the Edge TPU at {model}: run `edgetpu_compiler -o {bundle.path} "
            f"{bundle.path / 'model.tflite'}` on an x86-64 Linux, or name it in ${MODEL_VARIABLE}"
        )
    content = model.read_bytes()
    if CUSTOM_OP not in content:
        raise InputError(
            f"{model} was not compiled for the Edge TPU (it has no {CUSTOM_OP.decode()}), it would run on the CPU: "
            "run `edgetpu_compiler` on model.tflite"
        )
    library = os.environ.get(LIBRARY_VARIABLE) or "libedgetpu.so.1"
    try:
        ctypes.CDLL(library)
    except OSError as error:
        raise UnavailableError(
            f"the Edge TPU needs its library ({error}): install libedgetpu1-std from Coral's Debian repository"
        ) from error
    device = os.environ.get(DEVICE_VARIABLE)
    try:
        engine = LiteRTEngine(model, content=content, delegate=Delegate(library, {"device": device} if device else {}))
    except UnavailableError as error:
        raise UnavailableError(
            f"no Edge TPU answers ({error}): is it plugged in, and may this user open it (group plugdev)? `lsusb` has "
            "it as 1a6e:089a or 18d1:9302"
        ) from error
    except InputError as error:
        raise InputError(
            f"{error}; a model of a newer compiler than libedgetpu's runtime does not run either: update libedgetpu"
        ) from error
    engine.name = "Coral Edge TPU"
    check_contract(bundle, model, engine.input, engine.output)
    return engine
