import pandas as pd
import pytest

from fitwell.data.finding import Case
from fitwell.data.names import find_odd_names, is_dangerous


def odd(paths, labels=None, **slices):
    labels = labels or ["x"] * len(paths)
    cases = find_odd_names(pd.DataFrame({"path": paths, "label": labels, **slices}, dtype=str), sorted(set(labels)))
    return {code: found for code, found in cases.items() if found}


def test_plain_names_are_not_odd():
    assert odd(["cat/1.png", "cat/a b.png", "dog/o'neil & son (2).png", "\u732b/\u00fc.png", "u\u0308.png"]) == {}


@pytest.mark.parametrize(
    "name", ["new\nline", "\u202ertl", "a\u200bb", "<script>", "-rf", " padded", "padded ", "a\u00a0b", "\x1b[31m"]
)
def test_names_that_would_be_acted_on_or_not_be_seen_are_dangerous(name):
    assert is_dangerous(name)
    assert odd(["1.png"], [name])["DATA122"] == [Case(name, "label")]


def test_a_dangerous_folder_counts_once():
    assert odd(["a/<b>/1.png", "a/<b>/2.png"], ["<b>", "<b>"]) == {"DATA122": [Case("a/<b>")]}


def test_paths_that_other_systems_would_not_tell_apart_are_paired():
    paths = ["Cat/1.png", "cat/1.png", "cat/u\u0308.png", "cat/\u00dc.png", "dog/1.png", "dog/1.PNG", "dog/2.png"]
    assert odd(paths)["DATA125"] == [
        Case("cat", other="Cat"),
        Case("cat/\u00dc.png", other="cat/u\u0308.png"),
        Case("dog/1.PNG", other="dog/1.png"),
    ]


def test_labels_that_differ_by_case_blanks_or_accent_coding_are_paired():
    labels = ["cat", "Cat", " cat", "big  cat", "big cat", "\u00fc", "u\u0308", "dog"]
    assert odd([f"{number}.png" for number in range(8)], labels)["DATA216"] == [
        Case("Cat", other=" cat"),
        Case("big cat", other="big  cat"),
        Case("cat", other=" cat"),
        Case("\u00fc", other="u\u0308"),
    ]


def test_cells_that_a_spreadsheet_would_run_are_named_once_with_their_column():
    images = odd(
        ["=a/1.png", "=a/2.png"], ["@x", "y"], site=["=HYPERLINK(1)", "=HYPERLINK(1)"], shift=["-5.2", "+1e-3"]
    )
    assert images["DATA215"] == [
        Case("=a", "in the column path"),
        Case("@x", "in the column label"),
        Case("=HYPERLINK(1)", "in the column site"),
    ]


def test_weights_are_numbers_and_no_formulas():
    images = pd.DataFrame({"path": ["1.png"], "label": ["x"], "weight": [1.0], "split": ["train"]})
    assert not any(find_odd_names(images, sorted(set(images["label"]))).values())


def test_no_images_have_no_odd_names():
    assert not any(find_odd_names(pd.DataFrame({"path": [], "label": []}, dtype=str), []).values())
