import pytest

from fitwell.errors import RunError
from fitwell.evaluation.report.own_texts import between_markers, read_own_texts

NAMES = {"use": "?", "limits": "?"}
CARD = """\
# A card

<!-- yours: use -->
For cats.

| a | b |
   and dogs
<!-- end -->
Anything else.
<!-- yours: limits -->

<!-- end -->
"""


def test_what_stands_between_the_markers_is_read_line_by_line(tmp_path):
    card = tmp_path / "card.md"
    card.write_text(CARD)
    assert read_own_texts(card, NAMES) == {"use": "For cats.\n\n| a | b |\n   and dogs", "limits": ""}


def test_without_a_card_there_are_no_texts(tmp_path):
    assert read_own_texts(tmp_path / "card.md", NAMES) == {}


@pytest.mark.parametrize(
    "text", ["", "For cats.", "\n two \n\n", "a\u2028b\x0bc", "<!-- a comment -->", "ß \U0001f431"]
)
def test_what_is_written_is_read_again(tmp_path, text):
    card = tmp_path / "card.md"
    card.write_text("\n".join(between_markers(name, text) for name in NAMES), encoding="utf-8")
    assert read_own_texts(card, NAMES) == dict.fromkeys(NAMES, text)


def test_a_card_saved_on_another_system_is_read(tmp_path):
    card = tmp_path / "card.md"
    card.write_bytes(b"\xef\xbb\xbf" + CARD.replace("\n", "\r\n").encode())
    assert read_own_texts(card, NAMES)["use"] == "For cats.\n\n| a | b |\n   and dogs"


def test_spaces_after_a_marker_do_not_break_it(tmp_path):
    card = tmp_path / "card.md"
    card.write_text(CARD.replace("-->", "-->  "))
    assert read_own_texts(card, NAMES)["limits"] == ""


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("<!-- end -->\nAnything", "Anything", "line 9 begins “limits”, but “use” has no end"),
        ("\n\n<!-- end -->\n", "\n", "“limits” has no end"),
        ("<!-- yours: use -->\n", "", "line 7 ends a text that nothing began"),
        ("yours: use", "yours: usage", "line 3 begins “usage”, which is no text of this card"),
        ("yours: limits", "yours: use", "line 10 begins “use”, a second time"),
        ("<!-- yours: limits -->\n\n<!-- end -->\n", "", "the markers of “limits” are missing"),
        ("<!-- yours: limits -->", "<!- yours: limits -->", "line 12 ends a text that nothing began"),
    ],
)
def test_a_broken_marker_is_named_and_the_card_is_left_alone(tmp_path, old, new, found):
    card = tmp_path / "card.md"
    broken = CARD.replace(old, new)
    assert broken != CARD
    card.write_text(broken)
    with pytest.raises(RunError, match=r"card\.md are broken") as caught:
        read_own_texts(card, NAMES)
    assert found in caught.value.found
    assert card.read_text() == broken


def test_a_card_that_is_not_utf_8_is_named(tmp_path):
    card = tmp_path / "card.md"
    card.write_bytes(b"caf\xe9")
    with pytest.raises(RunError) as caught:
        read_own_texts(card, NAMES)
    assert "byte 3 is not UTF-8" in caught.value.found
