import numpy as np
import pytest
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from fitwell.data.dicom_levels import describe_levels, show_levels
from fitwell.errors import DataError


def header(kind="MONOCHROME2", bits=8, signed=0, **values):
    dataset = Dataset()
    dataset.PhotometricInterpretation, dataset.BitsStored, dataset.PixelRepresentation = kind, bits, signed
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.set_original_encoding(False, True, "iso8859")
    return dataset


def table(descriptor, entries):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if min(descriptor) < 0 else "US", descriptor)
    item.add_new("LUTData", "OW" if isinstance(entries, bytes) else "US", entries)
    return [item]


def shown(values, dataset, kind=np.uint16):
    return show_levels(np.asarray([values], dtype=kind), dataset)[0].tolist()


def test_eight_bits_are_shown_as_they_are():
    assert shown([0, 1, 128, 255], header(), np.uint8) == [0, 1, 128, 255]


def test_monochrome1_is_turned():
    assert shown([0, 1, 128, 255], header("MONOCHROME1"), np.uint8) == [255, 254, 127, 0]


def test_twelve_bits_fill_the_whole_range():
    assert shown([0, 819, 2048, 4095], header(bits=12)) == [0, 51, 128, 255]  # 819 / 4095 = 1 / 5


def test_signed_values_begin_at_their_least():
    assert shown([-2048, -1229, 0, 2047], header(bits=12, signed=1), np.int16) == [0, 51, 128, 255]


def test_a_window_cuts_by_the_formula_of_the_standard():
    # c = 40, w = 401: black up to 39.5 - 200 = -160.5, white above 239.5, linear between
    dataset = header(bits=12, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=401)
    assert shown([0, 863, 865, 1024 + 39, 1024 + 139, 1264, 4095], dataset) == [0, 0, 1, 127, 191, 255, 255]


def test_a_window_of_width_1_is_a_threshold():
    assert shown([99, 100, 101], header(bits=12, WindowCenter=100, WindowWidth=1)) == [0, 255, 255]


def test_an_exact_window_has_no_half_steps():
    dataset = header(bits=12, WindowCenter=100, WindowWidth=100, VOILUTFunction="LINEAR_EXACT")
    assert shown([50, 75, 100, 150], dataset) == [0, 64, 128, 255]


def test_a_sigmoid_window_never_overflows():
    dataset = header(bits=16, WindowCenter=30000, WindowWidth=1, VOILUTFunction="SIGMOID")
    assert shown([0, 30000, 65535], dataset) == [0, 128, 255]


def test_the_first_of_several_windows_counts():
    dataset = header(bits=12, WindowCenter=[100, 2000], WindowWidth=[1, 4096])
    assert shown([99, 101], dataset) == [0, 255]


@pytest.mark.parametrize(
    "changes",
    [
        {"RescaleSlope": 2.5, "RescaleIntercept": -1000, "WindowCenter": 300, "WindowWidth": 900},
        {"WindowCenter": 2000, "WindowWidth": 1500.5, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": 2000, "WindowWidth": 700, "VOILUTFunction": "SIGMOID"},
        {"ModalityLUTSequence": table([4, 2, 16], [0, 1000, 30000, 65535]), "WindowCenter": 9000, "WindowWidth": 50000},
        {"VOILUTSequence": table([5, 1000, 16], [0, 100, 5000, 40000, 65535])},
    ],
)
def test_grey_agrees_with_pydicom(changes):
    dataset = header(bits=12, **changes)
    values = np.arange(4096, dtype=np.uint16)
    theirs = apply_voi_lut(apply_modality_lut(values, dataset), dataset).astype(float)
    if "WindowCenter" in changes and "ModalityLUTSequence" not in changes:  # pydicom spreads windows over this range
        low, high = (
            low_high * changes.get("RescaleSlope", 1) + changes.get("RescaleIntercept", 0) for low_high in (0, 4095)
        )
    else:
        low, high = 0, 65535
    expected = np.rint(255 * (theirs - low) / (high - low))
    assert np.abs(np.asarray(shown(values, dataset)) - expected).max() <= 1e-9


def test_a_table_for_values_of_interest_wins_over_a_window():
    dataset = header(bits=12, VOILUTSequence=table([3, 10, 8], [0, 51, 255]), WindowCenter=9, WindowWidth=1)
    assert shown([0, 10, 11, 12, 4095], dataset) == [0, 0, 51, 255, 255]


def test_a_table_may_be_bytes_and_begin_below_zero():
    dataset = header(bits=8, signed=1, VOILUTSequence=table([4, -2, 8], bytes([0, 51, 102, 255])))
    assert shown([-128, -2, -1, 0, 1, 127], dataset, np.int8) == [0, 0, 51, 102, 255, 255]


def test_a_table_for_modality_gives_the_range():
    dataset = header(bits=8, ModalityLUTSequence=table([3, 0, 16], np.array([0, 13107, 65535], "<u2").tobytes()))
    assert shown([0, 1, 2], dataset, np.uint8) == [0, 51, 255]


def test_a_falling_rescale_shows_the_smallest_result_black():
    dataset = header(bits=8, RescaleSlope=-1, RescaleIntercept=0)
    assert shown([0, 255], dataset, np.uint8) == [255, 0]


def test_thirty_two_bits_are_scaled_row_by_row():
    assert shown([0, 2**31, 2**32 - 1], header(bits=32), np.uint32) == [0, 128, 255]


def palette(depth, entries, first=0):
    dataset = header("PALETTE COLOR")
    for colour, data in zip(("Red", "Green", "Blue"), entries, strict=True):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [len(entries[0]), first, depth])
        kind = "<u2" if depth == 16 else "u1"
        dataset.add_new(f"{colour}PaletteColorLookupTableData", "OW", np.asarray(data, kind).tobytes())
    return dataset


def test_palettes_of_8_and_16_bits_become_colours():
    expected = [[0, 51, 255], [255, 0, 51], [255, 0, 51]]
    assert shown([0, 1, 2], palette(8, [[0, 255], [51, 0], [255, 51]]), np.uint8) == expected
    wide = palette(16, [[0, 65535], [13107, 0], [65535, 13107]])
    assert shown([0, 1, 2], wide, np.uint8) == expected


def test_a_palette_may_have_more_than_256_entries_of_8_bits():
    ramp = np.arange(600) // 3
    assert shown([0, 300, 599], palette(8, [ramp, ramp, ramp])) == [[0] * 3, [100] * 3, [199] * 3]


def test_a_segmented_palette_becomes_colours():
    dataset = header("PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [4, 0, 16])
        # 2 entries of 0, then a line in 2 steps to 65535
        data = np.array([0, 2, 0, 0, 1, 2, 65535], "<u2").tobytes()
        dataset.add_new(f"Segmented{colour}PaletteColorLookupTableData", "OW", data)
    assert shown([0, 1, 2, 3], dataset, np.uint8) == [[0] * 3, [0] * 3, [128] * 3, [255] * 3]


def test_colours_of_16_bits_are_divided_by_257():
    pixels = np.array([[[0, 257, 65535]]], dtype=np.uint16)
    assert show_levels(pixels, header("RGB", bits=16)).tolist() == [[[0, 1, 255]]]


def float_header(**values):
    dataset = header(**values)
    del dataset.BitsStored
    return dataset


def test_floating_point_needs_a_window():
    dataset = float_header(WindowCenter=0.5, WindowWidth=1, VOILUTFunction="LINEAR_EXACT")
    assert shown([0, 0.2, 1], dataset, np.float32) == [0, 51, 255]
    with pytest.raises(DataError, match="neither a window nor a range") as caught:
        shown([0, 0.2, 1], float_header(), np.float32)
    assert caught.value.code == "DATA106"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"WindowCenter": 1, "WindowWidth": 0}, "window of width 0"),
        ({"WindowCenter": 1, "WindowWidth": 0.5}, "window of width 0.5"),
        ({"WindowCenter": 1, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"}, "window of width 0"),
        ({"WindowCenter": 1, "WindowWidth": 5, "VOILUTFunction": "LOG"}, "window of an unknown function"),
        ({"RescaleSlope": 0, "RescaleIntercept": 5}, "neither a window nor a range"),
    ],
)
def test_what_could_be_shown_in_many_ways_is_refused(changes, message):
    with pytest.raises(DataError, match=message) as caught:
        shown([0, 1], header(**changes), np.uint8)
    assert caught.value.code == "DATA106"


def test_values_that_are_no_numbers_are_refused():
    with pytest.raises(DataError, match="no finite numbers") as caught:
        shown([0, np.nan], float_header(WindowCenter=1, WindowWidth=2), np.float32)
    assert caught.value.code == "DATA106"


def test_the_rule_that_was_applied_is_named():
    assert describe_levels(header()) == "full range"
    assert describe_levels(header(WindowCenter=[40, 50], WindowWidth=[400, 9])) == "window 40 wide 400"
    assert describe_levels(header(VOILUTSequence=table([1, 0, 8], [1]))) == "table"
    assert describe_levels(header("RGB")) == "colours"
