"""The one way in which a file becomes pixels.

Training, evaluation, checking and serving all call `decode_image`, so a picture looks the same to each of them.
Everybody above `errors` may import this file; it needs Pillow and numpy only.

Rules: the bytes decide the format, not the name. EXIF orientation is applied. The first frame of an animation
counts. Transparency lies over white. 16-bit grey (and 32-bit integers that fit into 16 bits) is divided by 257;
floating point in [0, 1] is multiplied by 255. Whatever has no agreed range is refused, never stretched by guess.
"""

from __future__ import annotations

import io
import stat
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps

from fitwell.errors import DataError

ALLOWED_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MAX_PIXELS = 50_000_000  # 150 MB as RGB; a 2.5 kB PNG can ask for 100 megapixels


def decode_image(source: Path | bytes) -> Image.Image:
    """Return the picture in a file, or in the bytes of one, as upright 8-bit RGB.

    Raises:
        DataError: when the file is missing, no regular file, not of an allowed format, damaged, above
            `MAX_PIXELS`, or of a pixel type without an agreed range.
    """
    name = f"an image of {len(source)} bytes" if isinstance(source, bytes) else str(source)
    try:
        with _open(source) as file:
            return _read_pixels(file)
    except DataError as error:
        raise DataError(found=f"{name} {error.found}", expected=error.expected, fix=error.fix) from None
    except MemoryError:  # says nothing about the file
        raise
    except Exception as error:  # on damaged bytes the decoders raise OSError, SyntaxError, ValueError, struct.error...
        raise DataError(
            found=f"{name} cannot be read as an image ({_one_line(error)}).",
            expected=f"an undamaged file of one of the formats {', '.join(ALLOWED_FORMATS)}.",
            fix="replace the file, convert it to PNG or JPEG, or take it out of the dataset.",
        ) from error


def _open(source: Path | bytes) -> AbstractContextManager[IO[bytes]]:
    if isinstance(source, bytes):
        return nullcontext(io.BytesIO(source))
    mode = source.stat().st_mode
    if not stat.S_ISREG(mode):  # opening a pipe would wait for its writer for ever
        raise DataError(
            found="is not a regular file.",
            expected="a file that holds an image, no folder, pipe or device.",
            fix="take it out of the dataset.",
        )
    return source.open("rb")


def _read_pixels(file: IO[bytes]) -> Image.Image:
    try:
        image: Image.Image = Image.open(file, formats=ALLOWED_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(_one_line(error)) from error
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(f"{image.width} x {image.height} pixels")
    image.load()
    return _to_rgb(ImageOps.exif_transpose(image))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return _wide_grey_to_rgb(image)
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")
    return image.convert("RGB")


def _wide_grey_to_rgb(image: Image.Image) -> Image.Image:
    """Rescale; Pillow's own conversion clips, so that 99.6 % of a 16-bit ramp would become white."""
    values: np.ndarray[Any, Any] = np.asarray(image, dtype=np.float64)  # (H, W)
    low, high = values.min(), values.max()
    top = 1.0 if image.mode == "F" else 65535.0
    if not (low >= 0 and high <= top):  # written so that NaN fails too
        raise DataError(
            found=f"holds values from {low:g} to {high:g} in pixel type {image.mode}.",
            expected=f"values from 0 to {top:g}.",
            fix="convert it to 8 or 16 bits with one scale for the whole dataset.",
        )
    grey = np.rint(values * (255.0 / top)).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _too_large(size: str) -> DataError:
    return DataError(
        found=f"is too large: {size}.",
        expected=f"at most {MAX_PIXELS:,} pixels.",
        fix="make it smaller, or take it out of the dataset.",
    )


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__
