"""How bright a DICOM file's pixel values are shown: stored values in, 8-bit grey or RGB out.

Grey passes in this order: modality (table or rescale), values of interest (table, or first window, or neither: then
the full range of the stored bits), and MONOCHROME1 is turned. Values outside a window or range are cut off.

Source: DICOM PS3.3, C.7.6.3.1.2 (colours), C.7.6.3.1.5 (palettes), C.11.1 (modality), C.11.2 (values of interest).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fitwell.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")  # decoding has made RGB of each
PALETTE = "PALETTE COLOR"
PALETTE_COLOURS = ("Red", "Green", "Blue")
PALETTE_KEYWORDS = [
    f"{beginning}PaletteColorLookupTable{end}"
    for colour in PALETTE_COLOURS
    for beginning, end in ((colour, "Descriptor"), (colour, "Data"), (f"Segmented{colour}", "Data"))
]

Floats = NDArray[np.float64]


def show_levels(pixels: NDArray[Any], header: Dataset) -> NDArray[np.uint8]:
    """Return grey (H, W) or RGB (H, W, 3).

    Args:
        pixels: stored values (H, W), or RGB (H, W, 3).
        header: photometric interpretation, stored bits, and the tables, rescale and windows that there are.

    Raises:
        DataError: DATA106 when the values have no agreed range.
    """
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise without_range("holds values that are no finite numbers.", "numbers.")
    kind = header.PhotometricInterpretation
    if kind in GREY:
        grey = _convert_each(pixels, lambda values: _grey_levels(values, header))
        return np.invert(grey) if kind == "MONOCHROME1" else grey
    if kind == PALETTE:
        return _palette_colours(pixels, header)
    return _convert_each(pixels, lambda values: values / (2**header.BitsStored - 1))


def describe_levels(header: Dataset) -> str:
    """Return what says how bright grey is shown, such as "window 40 wide 400"."""
    if header.PhotometricInterpretation not in GREY:
        return "colours"
    if header.get("VOILUTSequence"):
        return "table"
    window = _first_window(header)
    return f"window {window[0]:g} wide {window[1]:g}" if window else "full range"


def without_range(found: str, expected: str) -> DataError:
    """Return the error about values that could be shown in many ways."""
    return DataError(
        found=found, expected=expected, fix="convert all images to PNG with one scale for the dataset.", code="DATA106"
    )


def _convert_each(pixels: NDArray[Any], level: Callable[[Floats], Floats]) -> NDArray[np.uint8]:
    """Return `level` of each pixel, cut to [0, 1], as 0 to 255; found once for each value that 8 or 16 bits have."""

    def convert(values: NDArray[Any]) -> NDArray[np.uint8]:
        return np.rint(255 * np.clip(level(values.astype(np.float64)), 0, 1)).astype(np.uint8)

    if pixels.dtype.itemsize > 2:
        return np.stack([convert(row) for row in pixels])
    unsigned = np.dtype(f"u{pixels.dtype.itemsize}")
    every = np.arange(2 ** (8 * unsigned.itemsize)).astype(unsigned)
    shown: NDArray[np.uint8] = convert(every.view(pixels.dtype))[pixels.view(unsigned)]
    return shown


def _grey_levels(values: Floats, header: Dataset) -> Floats:
    """Return how bright stored values are shown as MONOCHROME2: 0 is black, 1 is white."""
    low, high = _stored_range(header)
    slope, intercept = _numbers(header, "RescaleSlope"), _numbers(header, "RescaleIntercept")
    if table := header.get("ModalityLUTSequence"):
        low, high = 0.0, 2.0 ** table[0].LUTDescriptor[2] - 1
        values = high * _look_up(values, table[0].LUTDescriptor, table[0].LUTData, header)
    elif slope and intercept:
        values = values * slope[0] + intercept[0]
        low, high = sorted((low * slope[0] + intercept[0], high * slope[0] + intercept[0]))
    if table := header.get("VOILUTSequence"):
        return _look_up(values, table[0].LUTDescriptor, table[0].LUTData, header)
    if window := _first_window(header):
        return _through_window(values, *window, str(header.get("VOILUTFunction") or "LINEAR"))
    if not low < high:  # written so that NaN fails too
        raise without_range("has neither a window nor a range that its bits give.", "a window, or whole numbers.")
    return (values - low) / (high - low)


def _stored_range(header: Dataset) -> tuple[float, float]:
    """Return the least and the greatest value of the stored bits; NaN for floating point, which has none."""
    if "BitsStored" not in header:
        return math.nan, math.nan
    span = 2.0**header.BitsStored
    low = -span / 2 if header.PixelRepresentation else 0.0
    return low, low + span - 1


def _first_window(header: Dataset) -> tuple[float, float] | None:
    centers, widths = _numbers(header, "WindowCenter"), _numbers(header, "WindowWidth")
    return (centers[0], widths[0]) if centers and widths else None


def _numbers(header: Dataset, name: str) -> list[float]:
    value = header.get(name)
    return [] if value is None or value == "" else [float(each) for each in np.atleast_1d(value)]


def _through_window(values: Floats, center: float, width: float, function: str) -> Floats:
    """Return brightness by PS3.3 C.11.2.1.2 and C.11.2.1.3, before it is cut to [0, 1]."""
    least = 1.0 if function == "LINEAR" else 0.0
    if not width >= least or (width == 0 and function != "LINEAR"):
        raise without_range(f"has a window of width {width:g}.", "a window that is at least 1 wide.")
    if function == "SIGMOID":
        from scipy.special import expit

        return np.asarray(expit(4 * (values - center) / width))
    if function == "LINEAR_EXACT":
        return (values - center) / width + 0.5
    if function != "LINEAR":
        raise without_range("has a window of an unknown function.", "LINEAR, LINEAR_EXACT or SIGMOID.")
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return (values - (center - 0.5)) / (width - 1) + 0.5


def _look_up(values: Floats, descriptor: Sequence[int], data: bytes | Sequence[int], header: Dataset) -> Floats:
    """Return what a table holds for `values`, in [0, 1]; those beyond its ends get its first or last entry.

    Args:
        descriptor: number of entries (0 is 65,536), the value that the first entry is for, bits of an entry.
        data: entries as numbers, or as bytes with one or two to each.
    """
    num_entries, first, bits = int(descriptor[0]) or 2**16, int(descriptor[1]), int(descriptor[2])
    if isinstance(data, bytes):
        order = "<" if header.original_encoding[1] else ">"
        entries = np.frombuffer(data, f"{order}u2" if len(data) >= 2 * num_entries else "u1")
        bits = min(bits, 8 * entries.itemsize)
    else:
        entries = np.atleast_1d(np.asarray(data))
    indices = np.clip(np.rint(values) - first, 0, min(num_entries, len(entries)) - 1).astype(np.intp)
    return np.asarray(entries[indices] / (2.0**bits - 1))


def _palette_colours(pixels: NDArray[Any], header: Dataset) -> NDArray[np.uint8]:
    if "SegmentedRedPaletteColorLookupTableData" in header:
        from pydicom.pixels.processing import apply_color_lut

        colours = apply_color_lut(pixels, header)[..., :3]
        return _convert_each(colours, lambda values: values / np.iinfo(colours.dtype).max)

    def plane(colour: str) -> NDArray[np.uint8]:
        descriptor = header[f"{colour}PaletteColorLookupTableDescriptor"].value
        data = header[f"{colour}PaletteColorLookupTableData"].value
        return _convert_each(pixels, lambda values: _look_up(values, descriptor, data, header))

    return np.stack([plane(colour) for colour in PALETTE_COLOURS], axis=-1)  # (H, W, 3)
