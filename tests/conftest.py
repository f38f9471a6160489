"""What every folder's tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the real recordings and published weights; $TINYSCENE_SHARED or `shared` beside the checkout."""
    folder = Path(os.environ.get("TINYSCENE_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real recordings at {folder}: run `TINYSCENE_SHARED=FOLDER make test` with the folder's place")
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache_in_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the snippet caches of the tests apart from the user's, and share them among the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYSCENE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def denormal_numbers() -> None:
    """Undo what a training in an earlier test did to the processor's arithmetic; Hypothesis draws denormal numbers."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
