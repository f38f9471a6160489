"""The targets by name, and the lint of a model on several of them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence

from ...runtime.errors import InputError
from . import cortex_m, edgetpu, edgetpu_compiler, ethos_u, interpreters, pi, tflite_micro
from .operators import ModelView, read_operators
from .verdict import TargetLint

_RULES: Mapping[str, Callable[[ModelView], TargetLint]] = {
    module.KEY: module.lint for module in (edgetpu, tflite_micro, ethos_u, cortex_m, pi)
}

TARGETS = tuple(_RULES)


def target_names(names: Sequence[str]) -> tuple[str, ...]:
    """The targets called `names`, "all" being every one; raises `InputError` naming the nearest known one."""
    chosen: list[str] = []
    for name in names:
        if name != "all" and name not in TARGETS:
            close = difflib.get_close_matches(name, TARGETS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(TARGETS)}, all"
            raise InputError(f"unknown target {name!r}: {hint}")
        chosen += TARGETS if name == "all" else (name,)
    return tuple(dict.fromkeys(chosen))


def lint_view(
    view: ModelView,
    targets: Sequence[str] = TARGETS,
    accelerator: str = ethos_u.DEFAULT_ACCELERATOR,
    ask: bool = True,
) -> list[TargetLint]:
    """What each of `targets` does with the operators of `view`; with `ask` their own tools are run where installed."""
    lints = []
    for name in target_names(targets):
        lint = _RULES[name](view)
        if ask and name == edgetpu.KEY:
            lint = edgetpu_compiler.ask(lint, view)
        elif ask and name == ethos_u.KEY:
            lint = ethos_u.ask(lint, view, accelerator)
        elif ask and name == tflite_micro.KEY:
            lint = interpreters.ask(lint, view, interpreters.MICRO)
        elif ask and name == cortex_m.KEY:
            lint = cortex_m.ask(lint, view)
        elif ask and name == pi.KEY:
            lint = interpreters.ask(lint, view, interpreters.LITERT)
        lints.append(lint)
    return lints


def lint_model(
    data: bytes,
    targets: Sequence[str] = TARGETS,
    source: str = "the .tflite",
    accelerator: str = ethos_u.DEFAULT_ACCELERATOR,
    ask: bool = True,
) -> list[TargetLint]:
    """What each of `targets` does with a .tflite of any origin, one `TargetLint` a target.

    Raises `InputError` when the bytes are no TFLite model or a target is unknown.
    """
    return lint_view(read_operators(data, source), targets, accelerator, ask)
