"""Which bundle a verb runs when none is named."""

from __future__ import annotations

from pathlib import Path

from .errors import InputError

#: Where `make export-tflite` leaves its bundle, from the checkout.
DEFAULT_BUNDLE = Path("build/bundle")


def bundle_path(path: Path | None) -> Path:
    """The bundle that was named, or the default one; raises `InputError` when there is neither."""
    if path is not None:
        return path
    if not DEFAULT_BUNDLE.is_dir():
        raise InputError(
            f"no bundle given and none at {DEFAULT_BUNDLE}: run `make export-tflite` to make one, "
            "or name yours: `tinyscene listen BUNDLE`"
        )
    return DEFAULT_BUNDLE
