"""Colours: a map from quiet to loud whose lightness rises evenly, and a colour a scene.

The map is a path through OKLab (B. Ottosson, 2020, "A perceptual color space for image processing"), in which equal
steps look equal: lightness rises in a straight line, so a picture means the same in grey and to colour-blind eyes.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: Lightness, chroma and hue in degrees along the map: from night blue over violet and orange to pale yellow.
_PATH = np.array(
    [
        (0.13, 0.035, 275.0),
        (0.34, 0.140, 290.0),
        (0.55, 0.200, 355.0),
        (0.76, 0.155, 415.0),
        (0.97, 0.080, 465.0),
    ]
)

#: OKLab to the cube roots of cone responses, and those to linear sRGB: the two matrices of the paper.
_TO_CONES = np.array(
    [[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def srgb(lightness: NDArray[np.float64], chroma: NDArray[np.float64], hue: NDArray[np.float64]) -> NDArray[np.uint8]:
    """sRGB (n, 3) of OKLab in polar form, (n,) each, hue in degrees; what a screen cannot show is clipped."""
    angle = np.radians(hue)
    lab = np.stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)], axis=1)
    linear = np.clip((lab @ _TO_CONES.T) ** 3 @ _TO_RGB.T, 0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255.0 * encoded).astype(np.uint8)


@lru_cache(maxsize=4)
def loudness_map(levels: int = 256) -> NDArray[np.uint8]:
    """The map from quiet to loud, sRGB (levels, 3)."""
    at, along = np.linspace(0.0, 1.0, levels), np.linspace(0.0, 1.0, len(_PATH))
    return srgb(*(np.interp(at, along, _PATH[:, column]) for column in range(3)))


def scene_colours(count: int) -> list[str]:
    """A colour a scene, "#rrggbb", as far apart as so many can be: neighbours differ in hue and in lightness."""
    turn = 360.0 / max(count, 1)
    # Neighbours in the list are far apart on the circle of hues.
    step = next(step for step in (3, 5, 7, 2, 1) if count % step or step == 1)
    hues = np.array([25.0 + turn * (position * step % count) for position in range(count)])
    lightness = np.where(np.arange(count) % 2, 0.58, 0.74)
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in srgb(lightness, np.full(count, 0.135), hues)]
