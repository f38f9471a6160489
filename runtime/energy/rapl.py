"""The energy counters of an Intel or AMD processor, through the kernel's powercap files: an estimate.

"Estimated", because the counts are the processor's own: modelled from activity on some generations, and nobody else can
check them. They also see no more than the processor and, where counted, its memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UnavailableError
from .meter import PowerTrace, step_trace
from .sampler import Sampler, SamplingMeter
from .sysfs import read_text, whole_number

PERIOD_S = 0.05


@dataclass(frozen=True)
class Domain:
    """One counter: its file, its name and the count in uJ after which it starts again at 0."""

    path: Path
    name: str
    range_uj: int


def domains(root: Path = Path("/sys")) -> list[Domain]:
    """Every package, and the memory beside it, under `root`/class/powercap.

    "core" and "uncore" are parts of their package, and "psys" contains it: none of them is added to it. Raises
    `UnavailableError` when there is nothing.
    """
    found = []
    for folder in sorted((root / "class" / "powercap").glob("intel-rapl:*")):
        try:
            name = read_text(folder / "name")
        except OSError:
            continue
        if name.startswith("package") or name == "dram":
            found.append(Domain(folder / "energy_uj", f"{folder.name} {name}", _count(folder / "max_energy_range_uj")))
    if not found:
        raise UnavailableError(
            f"no processor package under {root}/class/powercap: RAPL needs an Intel or AMD processor, the kernel "
            "module (`sudo modprobe intel_rapl_msr`) and no virtual machine in between"
        )
    return found


def unwrap(counts_uj: NDArray[np.float64], range_uj: int) -> NDArray[np.float64]:
    """Steps in uJ between `counts_uj` (n,): (n - 1,), a step back being a counter that went through `range_uj`."""
    steps = np.diff(counts_uj)
    return np.asarray(np.where(steps < 0, steps + range_uj, steps))


class RaplMeter(SamplingMeter):
    """The sum over all packages and their memory."""

    def __init__(self, period_s: float = PERIOD_S, root: Path = Path("/sys")) -> None:
        self.domains = domains(root)
        super().__init__(
            "RAPL",
            "estimated",
            ", ".join(domain.name for domain in self.domains)
            + ": no disc, screen, board or power supply, no accelerator",
            period_s,
        )

    def read(self) -> tuple[float, ...]:
        """The counters in uJ, one for each of `domains`."""
        return tuple(float(_count(domain.path)) for domain in self.domains)

    def trace(self, sampler: Sampler) -> PowerTrace:
        """Mean power of each interval between readings."""
        t_s, counts = sampler.t_s, sampler.values
        about: Any = self.about(sampler)
        step_uj = sum(
            (unwrap(counts[:, i], domain.range_uj) for i, domain in enumerate(self.domains)), np.zeros(len(t_s) - 1)
        )
        longer = np.flatnonzero(np.diff(t_s) > 0)
        span_s = np.diff(t_s)[longer]
        return step_trace(t_s[:-1][longer], t_s[1:][longer], step_uj[longer] / 1e6 / span_s, **about)


def _count(path: Path) -> int:
    try:
        text = read_text(path)
    except PermissionError as error:
        raise UnavailableError(
            f"{path} is readable by root only: run `sudo chmod a+r {path}` until the next start, or add the udev rule "
            'ACTION=="add", SUBSYSTEM=="powercap", RUN+="/bin/chmod a+r /sys%p/energy_uj"'
        ) from error
    except OSError as error:
        raise UnavailableError(f"cannot read {path} ({error.strerror}): run `ls /sys/class/powercap`") from error
    count = whole_number(text, path, "microjoules")
    if count < 0:
        raise UnavailableError(f"{path} holds {count}, expected microjoules of 0 or more")
    return count
