"""Write frames as an animated GIF whose colours mean the same in all of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from vsg_ppl.errors import GameError

Pixels = NDArray[np.uint8]

STAYS = 1500
"""Milliseconds for which the last frame stays longer than the others."""


def write_frames(
    frames: Iterable[Pixels], path: Path, each: int, ink: str, colours: NDArray[np.float64]
) -> None:
    """Write an animated GIF that begins again and again.

    A GIF has 256 colours: those given, greys, and an ink on white. No pixel is dithered, so that
    what is of one colour stays so.

    Args:
        frames: (height, width, 3) each.
        path: where to write it.
        each: milliseconds for a frame.
        ink: a colour that lies on white.
        colours: up to 160 further ones, (n, 3), in [0, 1].

    Raises:
        GameError: the path cannot be written.
    """
    faint = np.linspace(0, 1, 30)[:, None]
    mixed = faint + (1 - faint) * np.array(to_rgb(ink))
    greys = np.linspace(0, 1, 66)[:, None].repeat(3, 1)
    palette = np.round(255 * np.concatenate([greys, mixed, colours])).astype(np.uint8)
    first, *others = (_in_palette(frame, palette) for frame in frames)
    times = [each] * len(others) + [each + STAYS]
    try:
        first.save(path, format="GIF", save_all=True, append_images=others, duration=times, loop=0)
    except OSError as error:
        raise GameError(
            f"{path} cannot be written ({error.strerror})", hint="a file in a folder that exists."
        ) from error


def _in_palette(frame: Pixels, palette: Pixels) -> Image.Image:
    """Every pixel in the nearest colour of the palette."""
    codes = frame.astype(np.int64) @ np.array([65536, 256, 1])
    found, place = np.unique(codes, return_inverse=True)
    parts = np.stack([found >> 16, found >> 8 & 255, found & 255], -1)
    far = ((parts[:, None] - palette.astype(np.int64)) ** 2).sum(-1)
    image = Image.fromarray(far.argmin(1)[place].reshape(codes.shape).astype(np.uint8), mode="P")
    image.putpalette(palette.tobytes())
    return image
