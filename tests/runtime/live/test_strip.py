"""The strip of half blocks, read back from what a terminal is sent."""

from __future__ import annotations

import io
import re
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from tinyscene.runtime.frontend_spec import FrontendSpec
from tinyscene.runtime.live.palette import loudness_map
from tinyscene.runtime.live.strip import KEPT, ROWS, Strip

SPEC = FrontendSpec()
FLOOR = float((np.log(SPEC.log_offset) + SPEC.norm_shift) / SPEC.norm_scale)
LOUD = 5.0  # log-mel of a sound that is louder than the colours go


def pixels(strip: Strip, width: int, rows: int) -> NDArray[np.int64]:
    """RGB (2 * rows, width, 3) of the strip on a terminal of 24-bit colours, the highest band first; -1: empty."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, color_system="truecolor")
    console.print(strip.picture(width, rows), end="")
    lines = file.getvalue().rstrip("\n").split("\n")
    assert len(lines) == rows
    image = np.full((2 * rows, width, 3), -1)
    for row, line in enumerate(lines):
        column, colours = 0, [(-1, -1, -1)] * 2
        for codes, cells in re.findall(r"\x1b\[([0-9;]*)m|([▀ ]+)", line):
            if cells:
                for cell in cells:
                    if cell == "▀":
                        image[2 * row : 2 * row + 2, column] = colours
                    column += 1
            elif codes not in ("", "0"):
                numbers = [*map(int, codes.split(";"))]
                assert (numbers[0], numbers[5]) == (38, 48)
                colours = [tuple(numbers[2:5]), tuple(numbers[7:10])]
        assert column == width
    return image


def frames(columns: int, loud: slice = slice(0, 0)) -> NDArray[np.float32]:
    """Frames for so many columns, silent but for some mel bands."""
    made = np.full((SPEC.n_mels, columns * Strip(SPEC).frames_a_column), FLOOR, np.float32)
    made[loud] = LOUD
    return made


@pytest.mark.parametrize("band", [0, 1, 7, 15])
def test_a_band_is_drawn_at_its_height_in_its_half_of_a_cell(band: int) -> None:
    strip = Strip(SPEC)
    strip.push(frames(3, slice(16 * band, 16 * band + 16)))
    image = pixels(strip, 5, ROWS)
    quiet, loudest = loudness_map(32)[0], loudness_map(32)[31]
    assert (image[:, :2] == -1).all()  # nothing was heard yet
    expected = np.full((16, 3, 3), quiet)
    expected[15 - band] = loudest
    np.testing.assert_array_equal(image[:, 2:], expected)


@pytest.mark.parametrize("rows", [3, 4, 5])
def test_fewer_rows_put_neighbours_together(rows: int) -> None:
    strip = Strip(SPEC)
    strip.push(frames(1, slice(128, 256)))  # the upper half
    brightness = pixels(strip, 1, rows).sum(axis=(1, 2))
    assert (brightness[: rows - 1] == loudness_map(32)[31].sum()).all()
    assert (brightness[rows + 1 :] == loudness_map(32)[0].sum()).all()


def test_pieces_of_any_size_make_the_same_columns() -> None:
    rng = np.random.default_rng(0)
    made = rng.uniform(FLOOR, LOUD, (SPEC.n_mels, 100)).astype(np.float32)
    whole, pieces = Strip(SPEC), Strip(SPEC)
    whole.push(made)
    cuts = [0, *sorted(rng.integers(0, 100, 20)), 100]
    for first, last in pairwise(cuts):
        pieces.push(made[:, first:last])
    np.testing.assert_array_equal(pixels(pieces, 40, ROWS), pixels(whole, 40, ROWS))
    drawn = (pixels(whole, 40, ROWS) >= 0).all(axis=(0, 2)).sum()
    assert drawn == 100 // whole.frames_a_column


def test_the_newest_stands_on_the_right_and_the_oldest_goes() -> None:
    strip = Strip(SPEC)
    strip.push(frames(KEPT + 10))
    strip.push(frames(1, slice(None)))
    image = pixels(strip, 12, ROWS)
    assert (image[:, -1] == loudness_map(32)[31]).all()
    assert (image[:, :-1] == loudness_map(32)[0]).all()
    assert strip.picture(1000, ROWS).cells.shape[1] == KEPT


def test_a_front_end_of_few_bands_fills_the_strip() -> None:
    spec = FrontendSpec(sample_rate_hz=8000, clip_samples=8000, n_fft=512, win_length=512, n_mels=5, fmax_hz=4000.0)
    strip = Strip(spec)
    strip.push(np.zeros((5, 4 * strip.frames_a_column), np.float32))
    assert (pixels(strip, 4, ROWS) >= 0).all()


def test_nothing_heard_is_an_empty_strip() -> None:
    assert (pixels(Strip(SPEC), 6, 3) == -1).all()
