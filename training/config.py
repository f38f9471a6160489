"""Reading settings: a YAML file with a section for each verb, then `key=value` from the command line.

Unknown keys and values of another type are refused; the settings that a run was trained with are saved beside it,
phases worked out.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ..runtime.errors import InputError
from .settings import TrainSettings

SECTIONS = ("teacher", "student", "freeze", "qat")

SettingsT = TypeVar("SettingsT", bound=TrainSettings)


def load_settings(
    kind: type[SettingsT], section: str, file: Path | None = None, overrides: Sequence[str] = ()
) -> SettingsT:
    """Settings of `kind` from its defaults, then `section` of the YAML `file`, then `key=value` `overrides`.

    Raises `InputError` on an unknown section or key (naming the nearest), and on a value of another type.
    """
    values: dict[str, Any] = {}
    if file is not None:
        values |= {key: (value, f"{file}, {section}") for key, value in _read_section(file, section).items()}
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise InputError(f"{override!r} is not a setting: expected key=value, such as lr=0.001")
        try:
            values[key] = (yaml.safe_load(text), "command line")
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())[:100]
            raise InputError(f"{override!r}: the value is not valid YAML: {reason}") from error
    return make_settings(kind, values)


def make_settings(kind: type[SettingsT], values: Mapping[str, tuple[Any, str]]) -> SettingsT:
    """Settings of `kind` from its defaults and `values`, each a YAML value and the place it was read from.

    Raises `InputError` as `load_settings` does.
    """
    types_of = typing.get_type_hints(kind)
    known = [field.name for field in fields(kind)]
    for key, (_, source) in values.items():
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
            raise InputError(f"{source}: unknown setting {key!r}: {hint}")
    converted = {key: _convert(key, value, types_of[key], source) for key, (value, source) in values.items()}
    return typing.cast(SettingsT, kind(**converted).resolve())


def read_yaml(file: Path, what: str) -> Any:
    """The plain values in a YAML `file`; raises `InputError` that calls it a `what` when it cannot be read."""
    try:
        return yaml.safe_load(file.read_text())
    except OSError as error:
        raise InputError(f"cannot read the {what} {file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not valid YAML: {' '.join(str(error).split()):.200}") from error


def _read_section(file: Path, section: str) -> Mapping[str, Any]:
    contents = read_yaml(file, "configuration")
    if contents is None:
        return {}
    if not isinstance(contents, dict) or not all(isinstance(part, dict | None) for part in contents.values()):
        raise InputError(f"{file}: expected sections {', '.join(SECTIONS)}, each with its settings")
    for name in contents:
        if name not in SECTIONS:
            close = difflib.get_close_matches(str(name), SECTIONS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected {', '.join(SECTIONS)}"
            raise InputError(f"{file}: unknown section {name!r}: {hint}")
    return contents.get(section) or {}


def _convert(key: str, value: Any, kind: Any, source: str) -> Any:
    """`value` as the field's type; whole numbers pass for floats, and lists (or one word) for tuples of words."""
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value is None and type(None) in options:
        return None
    wanted = next(option for option in options if option is not type(None))
    if typing.get_origin(wanted) is tuple:
        words = [value] if isinstance(value, str) else value
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return tuple(words)
    elif wanted is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        # YAML 1.1 reads "1e-3" as a word; nobody means one here.
        with contextlib.suppress(ValueError):
            number = float(value)
            if not math.isfinite(number):
                raise InputError(f"{source}: {key} is {number}, expected a finite number")
            return number
    elif type(value) is wanted:
        return value
    name = (
        "a list of words"
        if typing.get_origin(wanted) is tuple
        else {int: "a whole number", float: "a number"}.get(wanted, "a word" if wanted is str else str(wanted))
    )
    raise InputError(f"{source}: {key} is {value!r}, expected {name}{' or null' if len(options) > 1 else ''}")


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One entry a key whose values differ: "lr: 0.001, now 0.002"."""
    keys = [*new, *(key for key in old if key not in new)]
    return [f"{key}: {old.get(key)}, now {new.get(key)}" for key in keys if old.get(key) != new.get(key)]
