import csv

from fitwell.data.check.fix_list import write_fix_list
from fitwell.data.finding import Case, Finding, codes


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_every_case_has_its_line_and_errors_come_first(tmp_path):
    findings = [
        Finding("DATA303", "2 images are near-duplicates.", (Case("a.png", "distance 0.01", "b.png"),)),
        Finding("DATA103", "2 images are cut short.", (Case("c.png", "after 80 bytes"), Case("d.png"))),
    ]
    write_fix_list(tmp_path / "fix.csv", findings)
    cut, near = codes()["DATA103"].fix, codes()["DATA303"].fix
    assert read(tmp_path / "fix.csv") == [
        ["code", "severity", "name", "detail", "other", "suggestion"],
        ["DATA103", "error", "c.png", "after 80 bytes", "", cut],
        ["DATA103", "error", "d.png", "", "", cut],
        ["DATA303", "warning", "a.png", "distance 0.01", "b.png", near],
    ]


def test_a_finding_about_the_whole_dataset_has_one_line(tmp_path):
    write_fix_list(tmp_path / "fix.csv", [Finding("DATA603", "The mean colour is far from ImageNet's.")])
    ((_, _, name, detail, *_),) = read(tmp_path / "fix.csv")[1:]
    assert (name, detail) == ("", "The mean colour is far from ImageNet's.")


def test_nothing_found_is_a_list_with_a_header_only(tmp_path):
    write_fix_list(tmp_path / "fix.csv", [])
    assert len(read(tmp_path / "fix.csv")) == 1


def test_no_cell_is_a_formula_or_deceives_the_eye(tmp_path):
    cases = (
        Case("=HYPERLINK(1).png", "+1", "@a.png"),
        Case("-rf.png"),
        Case("two\nlines, quoted.png"),
        Case("\u202egnp.exe"),
        Case("not utf-8 \udcff.png"),
    )
    write_fix_list(tmp_path / "fix.csv", [Finding("DATA122", "5 names are dangerous.", cases)])
    rows = read(tmp_path / "fix.csv")[1:]
    assert rows[0][2:5] == ["'=HYPERLINK(1).png", "'+1", "'@a.png"]
    names = ["'-rf.png", "two\\nlines, quoted.png", "\\u202egnp.exe", "not utf-8 \\udcff.png"]
    assert [row[2] for row in rows[1:]] == names


def test_a_list_that_cannot_be_finished_leaves_the_old_one(tmp_path):
    def broken():
        yield Finding("DATA103", "1 image is cut short.")
        raise KeyboardInterrupt

    path = tmp_path / "fix.csv"
    path.write_text("old")
    try:
        write_fix_list(path, broken())
    except KeyboardInterrupt:
        assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["fix.csv"]
