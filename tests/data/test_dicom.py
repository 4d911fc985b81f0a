import io
import re
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders import JPEGLSLosslessDecoder
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    JPEG2000,
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
)

from fitwell.data.dicom import is_dicom, patient_groups, read_dicom
from fitwell.errors import DataError, UsageError

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20  # 0 to 220
HIDDEN = "HIDDEN"
PATIENT = {
    "PatientName": f"{HIDDEN}^Anna",
    "PatientID": f"{HIDDEN}-1",
    "PatientBirthDate": f"{HIDDEN}19",  # no date, so that reading it would warn with the value
    "InstitutionName": f"{HIDDEN} Hospital",
}


def dicom_bytes(pixels=RAMP, syntax=ExplicitVRLittleEndian, compressed=None, **values):
    """A DICOM file; `compressed` replaces the pixel data by encoded frames."""
    pixels = np.asarray(pixels)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape[-2:] if values.get("SamplesPerPixel", 1) == 1 else pixels.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MONOCHROME2", 1
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes() if compressed is None else encapsulate(compressed)
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
    dataset["PixelData"].is_undefined_length = compressed is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of the values that are wrong on purpose
        for name, value in {**PATIENT, **values}.items():
            if value is not None:
                setattr(dataset, name, value)
            elif name in dataset:
                del dataset[name]
        file = io.BytesIO()
        if syntax == RLELossless:
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def encoded(pixels, kind, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def read(data):
    return read_dicom(io.BytesIO(data))


def grey(data):
    pixels = np.asarray(read(data)[0])
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].tolist()


def code_of(data):
    with pytest.raises(DataError) as caught:
        read(data)
    return caught.value.code


def test_dicom_is_told_by_its_bytes():
    assert is_dicom(dicom_bytes()[:132])
    assert not is_dicom(b"DICM" + bytes(200))
    assert not is_dicom(b"")


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless],
    ids=lambda uid: uid.name,
)
def test_sixteen_bits_come_out_the_same_from_every_encoding(syntax):
    values = np.array([[0, 257, 65535], [514, 25700, 51400]], dtype=np.uint16)
    image, stored, notes = read(dicom_bytes(values, syntax))
    assert image.mode == "RGB"
    assert np.asarray(image)[..., 0].tolist() == [[0, 1, 255], [2, 100, 200]]
    assert stored == "MONOCHROME2 16-bit"
    assert notes == (("DATA801", "MONOCHROME2 16-bit, full range"),)


def test_bits_beyond_the_stored_ones_are_left_out():
    values = np.array([[0xF000, 0x0FFF]], dtype=np.uint16)  # the upper four may hold an overlay
    assert grey(dicom_bytes(values, BitsStored=12, HighBit=11)) == [[0, 255]]


def test_a_window_and_its_numbers_are_told():
    data = dicom_bytes(WindowCenter=100, WindowWidth=1, PhotometricInterpretation="MONOCHROME1")
    assert grey(data) == [[255] * 4, [255, 0, 0, 0], [0] * 4]
    assert read(data)[2] == (("DATA801", "MONOCHROME1 8-bit, window 100 wide 1"),)


def test_tables_survive_the_file():
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [221, 0, 8], (np.arange(221) // 2).astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        assert grey(dicom_bytes(syntax=syntax, VOILUTSequence=[item])) == (RAMP // 2).tolist()


def test_the_first_of_several_frames_counts():
    frames = np.stack([RAMP, 255 - RAMP, RAMP])
    image, _, notes = read(dicom_bytes(frames, NumberOfFrames=3))
    assert np.asarray(image)[..., 0].tolist() == RAMP.tolist()
    assert notes[1] == ("DATA116", "3 frames")


def test_an_enhanced_file_has_its_window_in_the_groups_of_its_first_frame():
    def frame(center):
        window, group = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, 1
        group.FrameVOILUTSequence = [window]
        return group

    rescale, shared = Dataset(), Dataset()
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 2, 10, "US"
    shared.PixelValueTransformationSequence = [rescale]
    data = dicom_bytes(
        np.stack([RAMP, RAMP]),
        NumberOfFrames=2,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=[frame(211), frame(5)],
    )
    assert grey(data) == np.where(2.0 * RAMP + 10 > 210.5, 255, 0).tolist()


COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90]]], dtype=np.uint8)
RGB = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB"}


def test_colours_are_kept_whatever_their_planes():
    assert np.asarray(read(dicom_bytes(COLOURS, **RGB))[0]).tolist() == COLOURS.tolist()
    planes = dicom_bytes(
        COLOURS, **{**RGB, "PlanarConfiguration": 1, "PixelData": COLOURS.transpose(2, 0, 1).tobytes()}
    )
    assert np.asarray(read(planes)[0]).tolist() == COLOURS.tolist()


def test_luminance_and_chroma_become_rgb():
    ycbcr = np.asarray(Image.fromarray(COLOURS).convert("YCbCr"))
    pixels = np.asarray(read(dicom_bytes(ycbcr, **{**RGB, "PhotometricInterpretation": "YBR_FULL"}))[0])
    assert np.abs(pixels.astype(int) - COLOURS).max() <= 2  # rounding, twice


def test_a_palette_becomes_colours():
    tables = {}
    for colour, entries in {"Red": [0, 255], "Green": [51, 0], "Blue": [255, 102]}.items():
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [2, 0, 8]
        tables[f"{colour}PaletteColorLookupTableData"] = bytes(entries)
    data = dicom_bytes(np.array([[0, 1]], np.uint8), PhotometricInterpretation="PALETTE COLOR", **tables)
    image, stored, notes = read(data)
    assert np.asarray(image).tolist() == [[[0, 51, 255], [255, 0, 102]]]
    assert (stored, notes) == ("PALETTE COLOR 8-bit", (("DATA801", "PALETTE COLOR 8-bit, colours"),))


def test_jpeg_is_read_as_pillow_reads_it():
    smooth = np.add.outer(np.arange(16), np.arange(24)).astype(np.uint8) * 4
    frame = encoded(smooth, "JPEG", quality=90)
    data = dicom_bytes(smooth, JPEGBaseline8Bit, [frame])
    assert grey(data) == np.asarray(Image.open(io.BytesIO(frame))).tolist()
    colour = np.stack([smooth, 255 - smooth, smooth], axis=-1)
    frame = encoded(colour, "JPEG", quality=90)
    data = dicom_bytes(colour, JPEGBaseline8Bit, [frame], **{**RGB, "PhotometricInterpretation": "YBR_FULL_422"})
    expected = np.asarray(Image.open(io.BytesIO(frame))).astype(int)
    assert np.abs(np.asarray(read(data)[0]) - expected).max() <= 2


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEG2000], ids=lambda uid: uid.name)
def test_jpeg_2000_is_lossless_where_it_says_so(syntax):
    values = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    assert grey(dicom_bytes(values, syntax, [encoded(values, "JPEG2000", no_jp2=True)])) == values.tolist()


def test_floating_point_pixels_need_a_window():
    values = np.array([[0, 0.2], [0.4, 1]], dtype=np.float32)
    changes = {"PixelData": None, "FloatPixelData": values.tobytes(), "BitsStored": None, "HighBit": None}
    window = {"WindowCenter": 0.5, "WindowWidth": 1, "VOILUTFunction": "LINEAR_EXACT"}
    assert grey(dicom_bytes(values, **changes, **window)) == [[0, 51], [102, 255]]
    assert code_of(dicom_bytes(values, **changes)) == "DATA106"


def test_too_many_pixels_are_refused_before_they_are_decoded():
    assert code_of(dicom_bytes(Rows=60000, Columns=60000)) == "DATA105"


def test_a_small_header_with_a_giant_frame_is_refused_before_it_is_decoded():
    giant = encoded(np.zeros((9000, 9000), np.uint8), "JPEG")
    with pytest.raises(DataError, match="a frame of another size than its header says") as caught:
        read(dicom_bytes(RAMP, JPEGBaseline8Bit, [giant]))
    assert caught.value.code == "DATA104"


def test_what_ends_before_its_pixels_do_is_cut_short():
    for data in (dicom_bytes(), dicom_bytes(syntax=RLELossless), dicom_bytes(syntax=ImplicitVRLittleEndian)):
        for missing in (1, 5, 11):
            assert code_of(data[:-missing]) == "DATA103"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Rows": None, "PixelData": None}, "holds no picture"),
        ({"PhotometricInterpretation": "HSV"}, "colours of an unusual kind"),
        ({"SamplesPerPixel": 3, "PlanarConfiguration": 0, "Columns": 4}, "does not fit its colours"),
        ({"Rows": 30}, "cannot be read as DICOM"),
        ({"BitsStored": None}, "cannot be read as DICOM"),
        ({"NumberOfFrames": -1}, "cannot be read as DICOM"),
    ],
)
def test_what_contradicts_itself_is_refused(changes, message):
    with pytest.raises(DataError, match=message) as caught:
        read(dicom_bytes(**changes))
    assert caught.value.code in ("DATA104", "DATA106")


def test_a_file_without_its_pixels_is_cut_short():
    assert code_of(dicom_bytes(PixelData=None)) == "DATA103"


def test_a_compression_that_nobody_reads_is_named():
    with pytest.raises(DataError, match="MPEG2") as caught:
        read(dicom_bytes(RAMP, MPEG2MPML, [b"\0\0\1\xb3"]))
    assert caught.value.code == "DATA803"


def test_a_deflated_file_is_refused_before_it_is_inflated():
    assert code_of(dicom_bytes(syntax=DeflatedExplicitVRLittleEndian)) == "DATA803"


@pytest.mark.skipif(JPEGLSLosslessDecoder.is_available, reason="the decoder is installed")
@pytest.mark.parametrize(
    ("syntax", "bits"), [(JPEGLSLossless, 8), (JPEGExtended12Bit, 12)], ids=["JPEG-LS Lossless", "JPEG Extended"]
)
def test_a_missing_decoder_is_named_with_its_command(syntax, bits):
    data = dicom_bytes(RAMP.astype(np.uint16), syntax, [b"\xff\xd8\xff\xc1"], BitsStored=bits, HighBit=bits - 1)
    with pytest.raises(DataError, match=re.escape(syntax.name)) as caught:
        read(data)
    assert (caught.value.code, caught.value.fix) == ("DATA803", "pip install python-gdcm")


def test_one_real_picture_looks_the_same_from_seven_encodings():
    """The magnetic resonance image that pydicom carries; pydicom itself gives the expected pixels."""
    whole = dcmread(get_testdata_file("MR_small.dcm", download=False))
    window = apply_voi_lut(apply_modality_lut(whole.pixel_array, whole), whole)
    expected = np.rint(255 * (window + 2**15) / (2**16 - 1))
    for kind in ("", "_RLE", "_bigendian", "_expb", "_implicit", "_jp2klossless", "_padded"):
        path = Path(get_testdata_file(f"MR_small{kind}.dcm", download=False))
        assert np.array_equal(grey(path.read_bytes()), expected), kind


def test_a_missing_extra_is_named_with_its_command(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pydicom.pixels", None)
    with pytest.raises(UsageError, match=r"pip install 'fitwell\[dicom\]'"):
        read(dicom_bytes())
    (tmp_path / "a.dcm").write_bytes(dicom_bytes())
    with pytest.raises(UsageError, match=r"pip install 'fitwell\[dicom\]'"):
        patient_groups(tmp_path, ["a.dcm"])


def damaged_files():
    random = np.random.default_rng(0)
    frame = encoded(np.full((16, 16), 9, np.uint8), "JPEG")
    window = {"WindowCenter": 100, "WindowWidth": 50, "RescaleSlope": 2, "RescaleIntercept": 0}
    wholes = [
        dicom_bytes(**window),
        dicom_bytes(syntax=RLELossless),
        dicom_bytes(np.zeros((16, 16), np.uint8), JPEGBaseline8Bit, [frame]),
    ]
    for whole in wholes:
        yield from (whole[:end] for end in range(132, len(whole), 7))
        for _ in range(300):
            data = np.frombuffer(whole, np.uint8).copy()
            data[random.integers(132, len(whole), 3)] = random.integers(0, 256, 3)
            yield data.tobytes()


def test_damage_ends_in_a_data_error_and_nothing_tells_of_the_patient(caplog, recwarn):
    files, told = list(damaged_files()), []
    caplog.clear()  # what pydicom said when it wrote them
    recwarn.clear()
    for data in files:
        try:
            told += map(str, read(data)[1:])
        except DataError as error:
            told.append("".join(traceback.format_exception(error)))
    assert sum("DATA801" in text for text in told) > 100  # the rest is errors
    assert sum("DataError" in text for text in told) > 100
    told += [record.getMessage() for record in caplog.records] + [str(each.message) for each in recwarn]
    assert [text for text in told if HIDDEN in text] == []


def write(folder, name, **values):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dicom_bytes(**values))
    return name


def test_patients_become_groups_under_numbers(tmp_path):
    paths = [
        write(tmp_path, "cat/3.dcm", PatientID="Z"),
        write(tmp_path, "cat/1.dcm", PatientID="Y"),
        write(tmp_path, "dog/2.dcm", PatientID="Z", syntax=ImplicitVRLittleEndian),
        write(tmp_path, "dog/4.dcm", PatientID=None),
        write(tmp_path, "dog/5.dcm", PatientID=" "),
    ]
    Image.fromarray(RAMP).save(tmp_path / "dog" / "6.png")
    groups = patient_groups(tmp_path, [*paths, "dog/6.png"])
    assert groups == ["patient-0002", "patient-0001", "patient-0002", "dog/4.dcm", "dog/5.dcm", "dog/6.png"]


def test_without_patients_there_are_no_groups(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "1.png")
    assert patient_groups(tmp_path, ["1.png"]) is None
    assert patient_groups(tmp_path, ["1.png", write(tmp_path, "2.dcm", PatientID=None)]) is None


def test_patients_are_read_from_headers_alone(tmp_path):
    whole = dicom_bytes()
    (tmp_path / "1.dcm").write_bytes(whole[: -RAMP.size])
    assert patient_groups(tmp_path, ["1.dcm"]) == ["patient-0001"]


def test_a_header_that_cannot_be_read_is_named_without_its_patient(tmp_path):
    (tmp_path / "1.dcm").write_bytes(dicom_bytes(PatientID=HIDDEN * 20)[:140])
    with pytest.raises(DataError, match=r"1\.dcm cannot be read as DICOM") as caught:
        patient_groups(tmp_path, ["1.dcm"])
    assert caught.value.code == "DATA104"


def test_an_id_that_breaks_the_rules_warns_nobody(tmp_path, caplog, recwarn):
    path = write(tmp_path, "1.dcm", PatientID=f"{HIDDEN}\\\x01{HIDDEN * 20}")
    caplog.clear()
    recwarn.clear()
    assert patient_groups(tmp_path, [path]) == ["patient-0001"]
    assert (caplog.records, list(recwarn)) == ([], [])


def test_pydicom_is_not_loaded_until_a_dicom_file_is_met():
    code = "import sys, fitwell.data.decode; print('pydicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
