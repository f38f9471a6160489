"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "ai-edge-litert", "tflite-runtime", "onnxruntime", "torch")


def machine() -> dict[str, Any]:
    """What the figures were measured on: processor, system, versions, date."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "versions": versions,
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def _processor() -> str:
    """The processor's name; Linux keeps it in /proc/cpuinfo, a Raspberry Pi its board's name beside it."""
    for file, key in ((Path("/proc/device-tree/model"), None), (Path("/proc/cpuinfo"), "model name")):
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        if key is None:
            return text.strip("\x00\n ")
        for line in text.splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
