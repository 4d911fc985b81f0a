import csv
import json

import pytest

from faults import FAULTS, write_clean
from fitwell.cli.app import run

TINY = "images: {size: 32}\nsplit: {val_fraction: 0.2, test_fraction: 0.2}\n"


@pytest.fixture
def clean(tmp_path):
    return write_clean(tmp_path / "set")


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return str(path)


def check(data, recipe, *options):
    return run(["check", str(data), "--recipe", recipe, *options])


def test_a_clean_set_has_nothing_to_report(clean, recipe, capsys):
    assert check(clean, recipe) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{clean}: 48 images, 2 classes\n")
    assert "planned split: train 28, val 10, test 10" in out
    assert out.endswith("nothing to report.\n")


def test_errors_are_told_first_with_their_cases_and_the_fix_and_end_with_3(clean, recipe, capsys):
    for name in ("palette", "empty file", "copied file"):
        FAULTS[name][1](clean)
    assert check(clean, recipe) == 3
    out = capsys.readouterr().out
    assert out.index("error   DATA101 1 of 51 images") < out.index("warning DATA301") < out.index("notice  DATA119")
    assert "    cat/empty.png" in out
    assert "    Fix: Copy the files again." in out
    assert out.endswith("1 error, 1 warning, 1 notice. `fitwell explain CODE` says more.\n")


def test_warnings_alone_are_no_failure(clean, recipe):
    FAULTS["copied file"][1](clean)
    assert check(clean, recipe) == 0


def test_codes_can_be_selected_and_ignored(clean, recipe, capsys):
    for name in ("palette", "empty file", "copied file"):
        FAULTS[name][1](clean)
    assert check(clean, recipe, "--select", "DATA1,DATA3", "--ignore", "DATA101", "--json") == 0
    assert [each["code"] for each in json.loads(capsys.readouterr().out)["findings"]] == ["DATA301", "DATA119"]
    assert check(clean, recipe, "--select", "DTA1") == 2
    assert "with which no code begins" in capsys.readouterr().err


def test_json_holds_every_case_and_the_sizes(clean, recipe, capsys):
    FAULTS["empty file"][1](clean)
    assert check(clean, recipe, "--json") == 3
    content = json.loads(capsys.readouterr().out)
    assert content["schema_version"] == 1
    assert content["num_images"] == 48
    assert content["class_counts"] == {"cat": 24, "dog": 24}
    (finding,) = content["findings"]
    assert (finding["code"], finding["severity"], finding["count"]) == ("DATA101", "error", 1)
    assert finding["cases"][0]["name"] == "cat/empty.png"


def test_a_page_and_a_fix_list_are_written_where_asked(clean, recipe, tmp_path):
    FAULTS["copied file"][1](clean)
    page, fixes = tmp_path / "page.html", tmp_path / "fixes.csv"
    assert check(clean, recipe, "--page", str(page), "--fix-list", str(fixes)) == 0
    assert "DATA301" in page.read_text()
    with fixes.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["code"] for row in rows] == ["DATA301"]
    assert {rows[0]["name"], rows[0]["other"]} == {"cat/00.png", "cat/copy.png"}


def test_check_never_loads_torch(clean, recipe):
    import subprocess
    import sys

    code = (
        "import sys; from fitwell.cli.app import run; "
        f"run(['check', {str(clean)!r}, '--recipe', {recipe!r}]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


def test_explain_lists_all_codes_or_says_more_about_one(capsys):
    assert run(["explain"]) == 0
    listed = capsys.readouterr().out
    assert "DATA103  error    image cut short\n" in listed
    assert run(["explain", "data404"]) == 0
    assert "--group-by order:N" in capsys.readouterr().out
    assert run(["explain", "DATA9"]) == 2


@pytest.mark.parametrize("option", ["--page", "--fix-list"])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(clean, recipe, tmp_path, capsys, option):
    assert check(clean, recipe, option, str(tmp_path / "nowhere" / "file")) == 2
    assert check(clean, recipe, option, str(tmp_path)) == 2
    captured = capsys.readouterr()
    assert captured.err.count("make the folder first") == 2
    assert captured.out == ""
