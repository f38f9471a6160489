"""One comparison of a verification, and how a person reads a list of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ...runtime.errors import TinysceneError, UnavailableError
from ..engines.engine import RefusedError
from .divergence import Divergence


@dataclass(frozen=True)
class Check:
    """One comparison: `passed` is None when its engine is missing; `detail` says what was found, in a line."""

    name: str
    passed: bool | None
    detail: str
    engine: str | None = None  # the engine's key
    diverges: Divergence | None = None


def passed(checks: list[Check]) -> bool:
    """Whether no check failed; what could not be checked does not count."""
    return all(check.passed is not False for check in checks)


def guarded(
    name: str, engine: str | None, run: Callable[[], tuple[bool, str, Divergence | None]], may_refuse: bool = False
) -> Check:
    """The check of what `run` finds; its errors become a check that failed, or one not made where a package lacks.

    With `may_refuse` an engine that does not have an op of the model is no failure either.
    """
    try:
        ok, detail, diverges = run()
    except RefusedError as error:
        return Check(name, None if may_refuse else False, str(error), engine)
    except UnavailableError as error:
        return Check(name, None, str(error), engine)
    except TinysceneError as error:
        return Check(name, False, str(error), engine)
    except Exception as error:  # engines of other packages raise what they like
        return Check(name, False, f"{type(error).__name__}: {error}", engine)
    return Check(name, ok, detail, engine, diverges)


def lines(checks: list[Check]) -> Iterator[str]:
    """The checks for a person, one a line, and the verdict."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        word = {True: "ok", False: "FAILED", None: "not checked"}[check.passed]
        yield f"{check.name:<{width}}  {word}: {check.detail}"
    failed = [check.name for check in checks if check.passed is False]
    yield f"verdict: FAILED ({', '.join(failed)})" if failed else "verdict: verified"
