"""C files as a shared library for this machine, compiled once.

Libraries are kept in `native` under $TINYSCENE_CACHE (by default ~/.cache/tinyscene) as KEY-SHA256.so: the key is that
of everything that went in, the digest that of the library, so that a damaged one is seen and made again. A folder that
somebody else could write to is not used.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import platform
import shutil
import stat
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...runtime.atomic import write_file
from ...runtime.errors import UnavailableError
from ..targets.build import build
from ..targets.target import TARGETS
from ..targets.toolchains import Toolchain, choose_toolchain

#: The system's compiler answers sooner than zig does.
_ORDER = ("gcc", "clang", "zig")

_FLAGS = ("-O3",)

#: One thread compiles at a time: a second one that wants the same finds it done.
_LOCK = threading.Lock()


def shared_library(files: Mapping[str, str | bytes], defines: Sequence[str] = ()) -> Path:
    """The library of `files` (name -> content), compiled when it is not there yet.

    Raises `UnavailableError` without a compiler and `BuildError` where it refuses the files.
    """
    toolchain = _toolchain()
    key = _key(files, defines, toolchain)
    with _LOCK:
        folder = _private_folder()
        found = _whole(folder, key)
        if found is None:
            with tempfile.TemporaryDirectory(prefix="tinyscene-native-") as place:
                target = Path(place) / "library.so"
                build(
                    TARGETS["host"],
                    files,
                    target,
                    toolchain=toolchain,
                    defines=defines,
                    flags=_FLAGS,
                    strict=False,  # a compiler of tomorrow may warn of anything
                )
                data = target.read_bytes()
            found = folder / f"{key}-{hashlib.sha256(data).hexdigest()}.so"
            write_file(found, data)
    return found


def _whole(folder: Path, key: str) -> Path | None:
    """The library of that key; a damaged one is removed."""
    for path in sorted(folder.glob(f"{key}-*.so")):
        try:
            if hashlib.sha256(path.read_bytes()).hexdigest() == path.stem.rpartition("-")[2]:
                return path
            path.unlink()
        except FileNotFoundError:
            continue  # another process removed it
    return None


def _key(files: Mapping[str, str | bytes], defines: Sequence[str], toolchain: Toolchain) -> str:
    words = [*defines, *_FLAGS, toolchain.version, *toolchain.compiler, platform.machine(), platform.system()]
    for name, content in sorted(files.items()):
        words += [name, content if isinstance(content, str) else content.hex()]
    digest = hashlib.sha256()
    for word in words:
        data = word.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]


def _toolchain() -> Toolchain:
    for key in _ORDER:
        try:
            return choose_toolchain(TARGETS["host"], key)
        except UnavailableError:
            continue
    raise UnavailableError(
        "the native engine needs a C compiler and none was found: run `pip install 'tinyscene[firmware]'` "
        "or `apt-get install gcc libc6-dev`"
    )


def _private_folder() -> Path:
    """The cache's folder when nobody else can write to it, else one that goes with this process."""
    folder = Path(os.environ.get("TINYSCENE_CACHE") or Path.home() / ".cache" / "tinyscene") / "native"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.lstat()
    except OSError:
        return _own_folder()
    private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
    return folder if private and os.access(folder, os.W_OK) else _own_folder()


@functools.cache
def _own_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tinyscene-native-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
