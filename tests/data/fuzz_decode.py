"""Feeds damaged images to read_image, guided by the branches they reach: python tests/data/fuzz_decode.py SECONDS.

Only DataError may escape, and whatever is returned must be a picture as promised. Needs atheris and pydicom.
"""

import io
import sys
import tempfile
import warnings
from pathlib import Path

import atheris
import numpy as np
from PIL import Image

with atheris.instrument_imports():
    import pydicom
    from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401

    from fitwell.data.decode import ALLOWED_FORMATS, read_image
    from fitwell.data.file_format import MAX_PIXELS
    from fitwell.errors import DataError

SLOWEST_SECONDS = 30  # for one input, of at most MAX_BYTES
MAX_BYTES = 4096
MOST_MEGABYTES = 3000  # 50 megapixels as RGBA over white, and their layers


def write_seeds(folder: Path) -> None:
    """Write a small image of every format and pixel type."""
    noise = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    colour = Image.fromarray(noise)
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ALLOWED_FORMATS:
        colour.convert("RGB").save(folder / f"rgb.{kind}", kind, exif=exif)
    for mode in ("1", "L", "P", "LA", "RGBA", "I;16"):
        picture = (
            Image.fromarray(noise[..., :2].copy().view(np.uint16)[..., 0]) if mode == "I;16" else colour.convert(mode)
        )
        for kind in ("PNG", "TIFF"):
            picture.save(folder / f"{mode}.{kind}", kind)
    for compression in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits"):
        colour.convert("RGB").save(folder / f"{compression}.TIFF", "TIFF", compression=compression)
    colour.convert("CMYK").save(folder / "cmyk.JPEG", "JPEG")
    colour.convert("RGB").save(folder / "progressive.JPEG", "JPEG", progressive=True)
    for kind in ("GIF", "WEBP", "TIFF", "PNG"):
        colour.save(folder / f"two.{kind}", kind, save_all=True, append_images=[colour.rotate(180)])
    Image.fromarray(noise[..., 0] / np.float32(255)).save(folder / "float.TIFF", "TIFF")
    write_dicom(folder / "grey.dcm", noise[..., 0])


def write_dicom(path: Path, pixels: np.ndarray) -> None:
    image = pydicom.Dataset()
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = "1.2.3"
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
    image.WindowCenter, image.WindowWidth, image.RescaleSlope, image.RescaleIntercept = 100, 200, 1, 0
    image.PixelData = pixels.tobytes()
    image.save_as(path, enforce_file_format=True)


def check_one(content: bytes) -> None:
    try:
        decoded = read_image(content)
    except DataError as error:
        if not error.code.startswith("DATA10"):
            raise RuntimeError(f"no code of a file: {error.code!r}") from error
        return
    image = decoded.image
    if image.mode != "RGB" or not 0 < image.width * image.height <= MAX_PIXELS:
        raise RuntimeError(f"returned {image.mode} of {image.size}")
    io.BytesIO(image.tobytes()).close()  # the pixels are there


def main() -> None:
    warnings.simplefilter("ignore")  # of Pillow, about what it ignores itself
    with tempfile.TemporaryDirectory() as folder:
        write_seeds(Path(folder))
        limits = [f"-max_total_time={sys.argv[1]}", f"-max_len={MAX_BYTES}", f"-timeout={SLOWEST_SECONDS}"]
        atheris.Setup([sys.argv[0], folder, *limits, f"-rss_limit_mb={MOST_MEGABYTES}"], check_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
