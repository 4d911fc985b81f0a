import pytest

from fitwell.data.finding import (
    Case,
    Finding,
    codes,
    describe,
    explain,
    keep_findings,
    printable,
    refuse_errors,
    sort_findings,
)
from fitwell.errors import DataError, UsageError

CUT = Finding("DATA103", "2 of 9 images: image cut short.", (Case("a.png", "is truncated."), Case("b.png")))
COPIES = Finding("DATA301", "1 file lies here twice.", (Case("c.png", other="d.png"),), {"pairs": 1})
PALETTE = Finding("DATA119", "1 of 9 images: palette.", (Case("e.png"),))


def test_every_code_has_a_severity_and_says_why_and_what_to_do():
    for name, kind in codes().items():
        assert name.startswith("DATA")
        assert kind.severity in ("error", "warning", "notice")
        assert kind.title == kind.title.strip()
        assert kind.title[-1] not in ".!"
        assert kind.why.endswith(".")
        assert kind.fix.endswith(".")


def test_only_errors_leave_images_out():
    assert {kind.severity for kind in codes().values() if kind.leaves_out} == {"error"}


def test_a_code_is_explained_with_what_happens_meanwhile():
    text = explain("DATA103")
    assert text.startswith("DATA103 (error): image cut short\n")
    assert "left out everywhere, in evaluation too" in text
    assert text.endswith("Fix: Copy or download the files again.")
    assert "left out" not in explain("DATA404")


def test_an_unknown_code_is_refused():
    with pytest.raises(UsageError, match="'DATA999', which is no code"):
        explain("DATA999")


def test_errors_come_first_then_warnings_then_notices():
    assert sort_findings([PALETTE, COPIES, CUT]) == [CUT, COPIES, PALETTE]


def test_findings_are_kept_by_the_beginning_of_their_code():
    all_three = [CUT, COPIES, PALETTE]
    assert keep_findings(all_three) == all_three
    assert keep_findings(all_three, select=["DATA1"]) == [CUT, PALETTE]
    assert keep_findings(all_three, ignore=["DATA119", "DATA3"]) == [CUT]
    assert keep_findings(all_three, select=["DATA1"], ignore=["DATA119"]) == [CUT]


@pytest.mark.parametrize("prefix", ["DATA9", "", "data1"])
def test_a_beginning_that_no_code_has_is_refused(prefix):
    with pytest.raises(UsageError, match="with which no code begins"):
        keep_findings([], ignore=[prefix])


def test_errors_stop_training_and_are_all_named():
    missing = Finding("DATA108", "1 of 9 images: missing file.", (Case("f.png"),))
    with pytest.raises(DataError) as caught:
        refuse_errors([COPIES, missing, CUT], "pets")
    assert caught.value.code == "DATA103"
    assert caught.value.found == (
        "pets cannot be trained on as it is:\n"
        "  DATA103 2 of 9 images: image cut short.\n    a.png: is truncated.\n    b.png\n"
        "  DATA108 1 of 9 images: missing file.\n    f.png"
    )
    assert "--on-data-error=warn" in caught.value.fix


def test_warnings_and_notices_do_not_stop_training():
    refuse_errors([COPIES, PALETTE], "pets")


def test_a_finding_names_its_first_cases_and_counts_the_rest():
    many = Finding("DATA101", "4 of 9 images: empty file.", tuple(Case(f"{number}.png") for number in range(4)))
    assert describe(many, limit=2) == "DATA101 4 of 9 images: empty file.\n    0.png\n    1.png\n    and 2 more"
    assert describe(COPIES) == "DATA301 1 file lies here twice.\n    c.png: see d.png"


def test_a_record_has_what_a_program_needs():
    assert COPIES.as_record() == {
        "code": "DATA301",
        "severity": "warning",
        "title": "same file more than once",
        "message": "1 file lies here twice.",
        "count": 1,
        "cases": [{"name": "c.png", "detail": "", "other": "d.png"}],
        "evidence": {"pairs": 1},
        "fix": "Keep one of each.",
    }
    assert len(CUT.as_record(most_cases=1)["cases"]) == 1
    assert CUT.as_record(most_cases=1)["count"] == 2


def test_what_a_terminal_would_act_on_is_written_out():
    assert printable("a\nb\u202ec\x1b[2J") == "a\\nb\\u202ec\\x1b[2J"
    assert printable("Käse 猫.png") == "Käse 猫.png"
