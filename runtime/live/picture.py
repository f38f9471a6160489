"""A picture of the terminal view: listens to a recording at its pace and draws what the terminal shows at the end.

`python -m tinyscene.runtime.live.picture BUNDLE --source FILE --out PNG`; needs chromium and a monospaced font.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from ..bundle import load_bundle
from ..engines.catalogue import open_named_engine
from ..errors import TinysceneError, UnavailableError
from ..sources.files import FileSource
from ..stream.listener import listen
from ..stream.stream import SceneStream
from .board import Board

#: Size of the terminal, in characters, and of the picture, in pixels.
COLUMNS, LINES, PIXELS = 90, 30, (918, 506)

#: A line is as high as a block character of the font, so that the strip has no seams.
_PAGE = """<!DOCTYPE html><meta charset="utf-8"><style>{stylesheet}
body {{ margin: 0; padding: 14px 18px; color: {foreground}; background: {background}; }}
pre {{ margin: 0; font: 16px/19px "DejaVu Sans Mono", monospace; }}</style><pre>{code}</pre>"""


def main(argv: list[str] | None = None) -> int:
    """Listen, draw, and write the picture."""
    parser = argparse.ArgumentParser(prog="python -m tinyscene.runtime.live.picture", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--duration-s", type=float, help="how much of the recording")
    arguments = parser.parse_args(argv)
    try:
        draw(arguments.bundle, arguments.source, arguments.out, arguments.duration_s)
    except TinysceneError as error:
        print(f"picture: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def draw(bundle_path: Path, recording: Path, out: Path, duration_s: float | None = None) -> None:
    """Write `out`; raises `UnavailableError` without a browser, and what the bundle and the recording raise."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise UnavailableError("a picture needs a browser: run `apt-get install chromium`")
    bundle, source = load_bundle(bundle_path), FileSource(recording, realtime=True)
    stream = SceneStream(bundle.frontend, bundle.labels, open_named_engine(bundle), source.sample_rate_hz)
    board = Board(f"{bundle.name} - {source.name}", bundle.labels, bundle.frontend)
    listen(source, stream, [board], duration_s=duration_s)
    console = Console(
        record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor", width=COLUMNS, height=LINES
    )
    console.print(board.render(COLUMNS, LINES))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        page.write_text(console.export_html(theme=MONOKAI, code_format=_PAGE), encoding="utf-8")
        size = f"--window-size={PIXELS[0]},{PIXELS[1]}"
        options = ("--headless", "--no-sandbox", "--hide-scrollbars", size, f"--screenshot={out.absolute()}")
        subprocess.run([browser, *options, page.as_uri()], capture_output=True, timeout=120, check=True)


if __name__ == "__main__":
    sys.exit(main())
