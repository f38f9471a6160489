"""The files of the page, read once, and the headers that every answer carries."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

#: By the end of a file's name.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}

#: The page loads nothing from elsewhere, runs no script but its own files, and cannot be framed.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; connect-src 'self'; img-src 'self' data:; style-src 'self'; "
    "script-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Asset:
    """A file that a browser may load."""

    media_type: str
    content: bytes


def read_assets() -> dict[str, Asset]:
    """All files of the page by the path under which they are asked for; "/" is the page itself."""
    assets = {}
    for entry in files(__package__).joinpath("page").iterdir():
        media_type = _TYPES.get(f".{entry.name.rpartition('.')[2]}")
        if media_type is not None and entry.is_file():
            assets[f"/{entry.name}"] = Asset(media_type, entry.read_bytes())
    assets["/"] = assets.pop("/index.html")
    return assets
