"""DICOM files as pictures, and their patients as groups. Needs the extra `dicom`.

Of the header only what the pixels mean is read, and PatientID where groups are asked for; what pydicom says of
values is not passed on. So nothing about a patient reaches a message, a warning or a log. Of several frames the
first counts. How bright a value is shown: see dicom_levels.

Source: DICOM PS3.3, C.7.6.3.1 (pixels); PS3.5, A.4 (compressed frames); PS3.10, 7.1 (the beginning of a file).
"""

from __future__ import annotations

import io
import logging
import os
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from numpy.typing import NDArray
from PIL import Image

from fitwell.data.dicom_levels import (
    COLOURS,
    GREY,
    PALETTE,
    PALETTE_KEYWORDS,
    describe_levels,
    show_levels,
    without_range,
)
from fitwell.data.file_format import MAX_PIXELS
from fitwell.errors import DataError, FitwellError, UsageError

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.pixels.decoders.base import Decoder
    from pydicom.uid import UID

HEAD_BYTES = 132  # of a file, enough for is_dicom
READ_FOR_PIXELS = (  # nothing else of a header is
    "SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns BitsAllocated "
    "BitsStored PixelRepresentation ModalityLUTSequence RescaleSlope RescaleIntercept VOILUTSequence WindowCenter "
    "WindowWidth VOILUTFunction SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence "
    "ExtendedOffsetTable ExtendedOffsetTableLengths " + " ".join(PALETTE_KEYWORDS)
).split()
PIXEL_DATA = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
ITEM, DELIMITER, UNKNOWN_LENGTH = 0xFFFEE000, 0xFFFEE0DD, 0xFFFFFFFF


def is_dicom(head: bytes) -> bool:
    """Return whether a file that begins with `head` (`HEAD_BYTES` bytes) says that it is DICOM."""
    return head[128:HEAD_BYTES] == b"DICM"


def read_dicom(file: IO[bytes]) -> tuple[Image.Image, str, tuple[tuple[str, str], ...]]:
    """Return the first frame as 8-bit RGB, how it is stored ("MONOCHROME2 12-bit"), and notes: (code, detail) pairs.

    Args:
        file: at its beginning, and able to seek.

    Raises:
        DataError: DATA103 cut short, DATA104 damaged or without a picture, DATA105 too many pixels, DATA106 without
            an agreed range, DATA803 compressed in a way that nothing installed can read.
        UsageError: when the extra `dicom` is not installed.
    """
    _load_pydicom()
    with _told_as_data_errors():
        source = cast("BinaryIO", file)
        header, syntax = _read_header(source)
        _check_header(header)
        pixels = _decode_first_frame(source, header, _find_decoder(syntax, header))
        rgb = show_levels(pixels, header)
        stored = f"{header.PhotometricInterpretation} {header.get('BitsStored') or header.BitsAllocated}-bit"
        notes = [("DATA801", f"{stored}, {describe_levels(header)}")]
        if (num_frames := int(header.get("NumberOfFrames") or 1)) > 1:
            notes.append(("DATA116", f"{num_frames} frames"))
        return Image.fromarray(rgb).convert("RGB"), stored, tuple(notes)


def patient_groups(root: Path, paths: Sequence[str]) -> list[str] | None:
    """Return a group for each image: its patient under a number ("patient-0001"), or its own path without a patient.

    Numbers follow the first image of each patient in the order of sorted paths. The issuer of an ID is not looked at:
    to take two patients for one costs little, to take one for two would leak.

    Returns: groups in the order of `paths`; None when no image names a patient.

    Raises:
        DataError: DATA104 when a header cannot be read.
        UsageError: when there are DICOM files and the extra `dicom` is not installed.
    """
    patients = {path: _read_patient(root / path) for path in sorted(paths)}
    known = dict.fromkeys(patient for patient in patients.values() if patient)
    numbers = {patient: f"patient-{number:04}" for number, patient in enumerate(known, start=1)}
    return [numbers.get(patients[path], path) for path in paths] if numbers else None


def _read_patient(path: Path) -> bytes:
    """Return PatientID as its bytes stand in the file, undecoded, because pydicom's warnings would quote it."""
    with path.open("rb") as file:
        if not is_dicom(file.read(HEAD_BYTES)):
            return b""
        _load_pydicom()
        file.seek(0)
        try:
            with _told_as_data_errors():
                header, _ = _read_header(file, patient=True)
                element = header.get_item("PatientID")
                return bytes(element.value or b"").strip(b" \0") if element is not None else b""
        except DataError as error:
            found = f"{path} {error.found}"
            raise DataError(found=found, expected=error.expected, fix=error.fix, code=error.code) from None


def _load_pydicom() -> None:
    try:
        import pydicom.pixels  # noqa: F401
    except ImportError as error:
        raise UsageError(
            found="DICOM images, and the package pydicom is not installed.",
            expected="the extra `dicom`, which reads them.",
            fix="pip install 'fitwell[dicom]'",
        ) from error
    # Its warnings quote values, and where a length is damaged those of the patient. Silenced for good, because
    # images are read in many threads, and warnings.catch_warnings is for one.
    warnings.filterwarnings("ignore", module=r"pydicom\b")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)


@contextmanager
def _told_as_data_errors() -> Iterator[None]:
    try:
        yield
    except (FitwellError, MemoryError):
        raise
    except Exception as error:  # on damaged bytes pydicom raises nearly everything, with values in its messages
        raise _damaged(f"cannot be read as DICOM ({type(error).__name__}).") from None


def _damaged(found: str) -> DataError:
    return DataError(
        found=found,
        expected="an undamaged DICOM file that holds a picture.",
        fix="replace the file, convert it to PNG, or take it out of the dataset.",
        code="DATA104",
    )


def _read_header(file: BinaryIO, *, patient: bool = False) -> tuple[Dataset, UID]:
    """Return what the header says about pixels, or of the patient, and how the file is encoded.

    Leaves `file` at the element that holds the pixels, or at its end. dcmread would inflate a deflated file whole.
    """
    from pydicom.datadict import tag_for_keyword
    from pydicom.filereader import read_dataset, read_preamble
    from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

    read_preamble(file, force=False)
    meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2)
    syntax = UID(meta.TransferSyntaxUID)
    if syntax == DeflatedExplicitVRLittleEndian:
        raise _unreadable_compression("deflated as a whole", "convert it with dcmconv or gdcmconv.")
    keywords = ["PatientID"] if patient else READ_FOR_PIXELS
    header = read_dataset(
        file,
        is_implicit_VR=syntax.is_implicit_VR,
        is_little_endian=syntax.is_little_endian,
        stop_when=lambda tag, *_: tag in PIXEL_DATA,
        specific_tags=[tag_for_keyword(keyword) or 0 for keyword in keywords],
    )
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):  # the frame's own count last
        for macro in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for group in _first_item(header, name):
                for meaning in _first_item(group, macro):
                    header.update(meaning)
    return header, syntax


def _first_item(dataset: Dataset, sequence: str) -> list[Dataset]:
    return list(dataset.get(sequence) or [])[:1]


def _check_header(header: Dataset) -> None:
    if "Rows" not in header:
        raise _damaged("holds no picture, as reports and directories do.")
    if header.Rows * header.Columns > MAX_PIXELS:
        raise DataError(
            found=f"is too large: {header.Columns} x {header.Rows} pixels.",
            expected=f"at most {MAX_PIXELS:,} pixels.",
            fix="make it smaller, or take it out of the dataset.",
            code="DATA105",
        )
    if header.PhotometricInterpretation not in (*GREY, *COLOURS, PALETTE):
        raise without_range("has colours of an unusual kind.", f"one of {', '.join((*GREY, *COLOURS, PALETTE))}.")
    if header.SamplesPerPixel != (3 if header.PhotometricInterpretation in COLOURS else 1):
        raise _damaged("has a number of samples per pixel that does not fit its colours.")


def _unreadable_compression(how: str, fix: str) -> DataError:
    return DataError(
        found=f"is compressed in a way that nothing installed can read: {how}.",
        expected="uncompressed, RLE, JPEG or JPEG 2000 pixels, or the package that reads others.",
        fix=fix,
        code="DATA803",
    )


def _find_decoder(syntax: UID, header: Dataset) -> Decoder:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import JPEGExtended12Bit

    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise _unreadable_compression(syntax.name, "convert it to PNG.") from None
    # Pillow offers itself for JPEG of 12 bits too, and then fails.
    is_beyond_pillow = (
        syntax == JPEGExtended12Bit and header.BitsStored > 8 and decoder.available_plugins == ("pillow",)
    )
    if is_beyond_pillow or not decoder.is_available:
        has_gdcm = any("gdcm" in each for each in decoder.missing_dependencies)
        packages = "python-gdcm" if has_gdcm else "pylibjpeg pylibjpeg-openjpeg"
        raise _unreadable_compression(syntax.name, f"pip install {packages}")
    return decoder


def _decode_first_frame(file: BinaryIO, header: Dataset, decoder: Decoder) -> NDArray[Any]:
    """Return stored values (H, W), or RGB (H, W, 3). `file` is at the element that holds the pixels."""
    from pydicom.encaps import get_frame
    from pydicom.pixels.utils import as_pixel_options
    from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit

    options = as_pixel_options(header, pixel_keyword=_enter_pixels(file, header))
    start = file.tell()
    if decoder.UID in (JPEGBaseline8Bit, JPEG2000Lossless, JPEG2000):  # a small header may hold a giant frame
        frame = get_frame(file, 0, number_of_frames=options["number_of_frames"])
        if Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")).size != (header.Columns, header.Rows):
            raise _damaged("holds a frame of another size than its header says.")
        file.seek(start)
    pixels, _ = decoder.as_array(file, index=0, **options)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _enter_pixels(file: BinaryIO, header: Dataset) -> str:
    """Move `file` to the first byte of the pixels; return the keyword of the element.

    Raises:
        DataError: DATA103 when the file ends before the element does.
    """
    is_implicit, is_little = header.original_encoding
    order = "<" if is_little else ">"
    size_bytes = 8 if is_implicit else 12  # tag, kind with two spare bytes when explicit, length
    opening = file.read(size_bytes)
    start = file.tell()
    is_whole = len(opening) == size_bytes and _is_whole(file, struct.unpack(f"{order}L", opening[-4:])[0], order)
    if not is_whole:
        raise DataError(
            found="is cut short: the file ends before its pixels do.",
            expected="a whole DICOM file.",
            fix="copy or download it again.",
            code="DATA103",
        )
    file.seek(start)
    group, element = struct.unpack(f"{order}HH", opening[:4])
    return PIXEL_DATA[group << 16 | element]


def _is_whole(file: BinaryIO, length: int, order: str) -> bool:
    """Return whether an element of `length` bytes, or one that items and a delimiter make up, ends within `file`."""
    if length != UNKNOWN_LENGTH:
        return file.tell() + length <= file.seek(0, os.SEEK_END)
    while len(opening := file.read(8)) == 8:
        group, element, length = struct.unpack(f"{order}HHL", opening)
        if group << 16 | element == DELIMITER:
            return True
        if group << 16 | element != ITEM:
            raise _damaged("has compressed frames that are no items.")
        file.seek(length, os.SEEK_CUR)
    return False
