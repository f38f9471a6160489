"""Engines by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib.metadata import entry_points

from ..bundle import Bundle
from ..errors import InputError, UnavailableError
from .engine import Engine
from .litert import Kernels, open_engine

#: The engine that every installation has.
LITERT = "litert"


#: Entry points of further engines: a callable `open(bundle, threads) -> Engine`.
GROUP = "tinyscene.runtime_engines"


def open_named_engine(bundle: Bundle, name: str = LITERT, kernels: Kernels = "default", threads: int = 1) -> Engine:
    """The engine of that name: LiteRT, or one that a package above the runtime registers under `GROUP`.

    Raises `InputError` that names the nearest for an unknown name and where another engine is given LiteRT's
    `kernels`, `UnavailableError` where what it needs is not installed, and what `open_engine` raises.
    """
    if name == LITERT:
        return open_engine(bundle, kernels, threads)
    entries = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in entries:
        known = (LITERT, *sorted(entries))
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
        raise InputError(f"unknown engine {name!r}: {hint}")
    if kernels != "default":
        raise InputError(f"--kernels {kernels} chooses LiteRT's kernels, but the engine is {name}: leave it out")
    try:
        opener: Callable[[Bundle, int], Engine] = entries[name].load()
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"the engine {name!r} needs {error.name!r}, which is not installed: run `pip install 'tinyscene[firmware]'`"
        ) from error
    return opener(bundle, threads)
