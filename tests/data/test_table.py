import csv
import io
import os
from pathlib import PurePosixPath, PureWindowsPath

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fitwell.data.finding import Case
from fitwell.data.labels import Labelling
from fitwell.data.table import LEAVES_ROOT, escape_cell, name_first, read_cells, read_table
from fitwell.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for name in ("1.png", "2.png", "3.png", "na\nme.png", "a;b.png"):
        (tmp_path / name).touch()
    return tmp_path


def write(folder, content, name="labels.csv"):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


def read(folder, content, name="labels.csv"):
    """The rows of a table without any fault."""
    table, findings = read_table(write(folder, content, name), folder)
    assert findings == ()
    return table


def refused(folder, content, name="labels.csv"):
    with pytest.raises(DataError) as caught:
        read_table(write(folder, content, name), folder)
    return caught.value


def faults(folder, content):
    """The paths that are left, and the cases of each code."""
    table, findings = read_table(write(folder, content), folder)
    return table["path"].tolist(), {finding.code: list(finding.cases) for finding in findings}


def test_every_label_stays_the_text_it_is(folder):
    for label in ("no", "on", "007", "1.0", "NA", "null", "nan", "True", " padded"):
        assert read(folder, f"path,label\n1.png,{label}\n2.png,x\n")["label"].tolist() == [label, "x"]


def test_rows_keep_their_order_and_further_columns_stay_text(folder):
    table = read(folder, "site,label,path,shots\nnorth,b,2.png,01\n,a,1.png,\n")
    assert table.to_dict("list") == {
        "site": ["north", ""],
        "label": ["b", "a"],
        "path": ["2.png", "1.png"],
        "shots": ["01", ""],
    }
    assert list(table.index) == [0, 1]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("path,label\n1.png,a\n2.png,b\n", "t.csv"),
        ("\ufeffpath,label\r\n1.png,a\r\n2.png,b\r\n", "t.csv"),
        ("path;label\n1.png;a\n2.png;b\n", "t.csv"),
        ("path\tlabel\n1.png\ta\n2.png\tb\n", "t.tsv"),
        ("path\tlabel\n1.png\ta\n2.png\tb\n", "t.csv"),
        ("path,label\n1.png,a\n2.png,b\n".encode("utf-16"), "t.csv"),
        (" path , label \n1.png,a\n\n2.png,b\n,\n", "T.CSV"),
        ('"path","label"\n"1.png","a"\n"./2.png","b"', "t.csv"),
    ],
)
def test_text_tables_of_many_makers_say_the_same(folder, content, name):
    assert read(folder, content, name).to_dict("list") == {"path": ["1.png", "2.png"], "label": ["a", "b"]}


def test_quoted_cells_may_hold_newlines_and_delimiters(folder):
    table = read(folder, 'path;label\n"na\nme.png";a\n"a;b.png";b\n')
    assert table["path"].tolist() == ["na\nme.png", "a;b.png"]


def test_parquet_values_become_text(folder):
    frame = {
        "path": ["1.png", "2.png", "3.png"],
        "label": [7, 8, 7],
        "dose": [0.5, None, 2.0],
        "weight": [1.0, 0.25, 3],
    }
    pd.DataFrame(frame).to_parquet(folder / "labels.parquet")
    table, findings = read_table(folder / "labels.parquet", folder)
    assert findings == ()
    assert table["label"].tolist() == ["7", "8", "7"]
    assert table["dose"].tolist()[0::2] == ["0.5", "2.0"]
    assert table["weight"].tolist() == [1.0, 0.25, 3.0]


def test_a_missing_parquet_label_is_named_by_its_row(folder):
    pd.DataFrame({"path": ["1.png", "2.png"], "label": ["a", None]}).to_parquet(folder / "labels.parquet")
    table, (finding,) = read_table(folder / "labels.parquet", folder)
    assert table["path"].tolist() == ["1.png"]
    assert (finding.code, finding.message) == ("DATA208", "1 of 2 rows: blank cell.")
    assert finding.cases == (Case("2.png", "row 2, label ''"),)


@pytest.mark.parametrize("columns", [{}, {"path": [], "label": []}])
def test_an_empty_parquet_table_has_no_rows(folder, columns):
    pd.DataFrame(columns).to_parquet(folder / "labels.parquet")
    assert len(read_cells(folder / "labels.parquet")) == 0


def test_missing_columns_list_the_ones_found(folder):
    error = refused(folder, "file,label,site\n1.png,a,x\n")
    assert error.code == "DATA207"
    assert error.found == f"{folder / 'labels.csv'} has the columns 'file', 'label', 'site'."
    assert error.expected == "at least the columns 'path' and 'label', named in the first row."
    assert error.fix == "rename or add 'path'."
    assert refused(folder, "").found.endswith("has the columns (none).")


def parquet(**columns):
    file = io.BytesIO()
    pq.write_table(pa.table(list(columns.values()), names=[name.rstrip("_") for name in columns]), file)
    return file.getvalue()


NOT_UTF8 = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xff"))
BEYOND_DATES = pa.array([2**62], pa.timestamp("ms"))


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (b"path,label\n\xff\xfe1.png,a\n", "t.csv", "byte 11 is not utf-8"),
        ('path,label\n1.png,"a\n2.png,b\n', "t.csv", "unexpected end of data"),
        ("path,label\n1.png,a,b\n", "t.csv", "row 2 has 3 cells, the header has 2"),
        ("path,label\n1.png,a\n2.png\n", "t.csv", "row 3 has 1 cells, the header has 2"),
        ("path,label,label\n1.png,a,b\n", "t.csv", "the column 'label' is named more than once"),
        ("path,label\n1.png," + "a" * 200_000, "t.csv", "field larger than field limit"),
        (b"PAR1 no parquet", "t.parquet", "Parquet"),
        (parquet(path=["1.png"], path_=["2.png"]), "t.parquet", "the column 'path' is named more than once"),
        (parquet(path=NOT_UTF8, label=["a"]), "t.parquet", "can't decode byte 0xff"),
        (parquet(path=["1.png"], label=BEYOND_DATES), "t.parquet", ""),
    ],
)
def test_what_is_no_table_is_refused(folder, content, name, reason):
    error = refused(folder, content, name)
    assert error.code == "DATA206"
    assert error.found.startswith(f"{folder / name} cannot be read as a table: ")
    assert reason in error.found
    assert error.expected.startswith("CSV or TSV in UTF-8")
    assert error.fix.startswith("save it again as CSV in UTF-8")


def test_a_pipe_is_no_table_and_nobody_waits_for_it(folder):
    os.mkfifo(folder / "labels.csv")
    with pytest.raises(DataError, match="it is no regular file"):
        read_table(folder / "labels.csv", folder)


@pytest.mark.parametrize("column", ["label", "group", "split", "path", "weight"])
def test_rows_with_a_blank_cell_are_named_and_left_out(folder, column):
    cells = {"path": ["1.png", "2.png", "3.png"], "label": [*"aba"], "group": [*"xyz"], "split": "train", "weight": "1"}
    frame = pd.DataFrame(cells, dtype=object)
    frame.loc[1, column] = "  "
    name = "row 3" if column == "path" else "2.png"
    left, found = faults(folder, frame.to_csv(index=False))
    assert left == ["1.png", "3.png"]
    assert found == {"DATA208": [Case(name, f"row 3, {column} '  '")]}


def test_optional_columns_that_are_blank_throughout_are_as_good_as_absent(folder):
    table = read(folder, "path,label,group,split,weight\n1.png,a,,,\n2.png,b, ,,\n")
    assert list(table.columns) == ["path", "label"]


def test_blank_rows_count_in_the_numbering(folder):
    assert faults(folder, "path,label\n1.png,a\n\n,\n2.png,\n")[1] == {"DATA208": [Case("2.png", "row 5, label ''")]}


OUTSIDE = [
    "/etc/passwd",
    "../1.png",
    "a/../../1.png",
    "file:///etc/passwd",
    "https://host/1.png",
    "C:\\1.png",
    "\\\\host\\share\\1.png",
    "..\\1.png",
    "1.png\0.jpg",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_rows_that_point_elsewhere_are_left_out(folder, path):
    left, found = faults(folder, f"path,label\n1.png,a\n{path},b\n")
    assert left == ["1.png"]
    assert found == {"DATA209": [Case(path, "row 3")]}


@given(st.text(st.sampled_from("a:.\\/C+-2 "), max_size=9))
def test_what_leaves_the_root_agrees_with_both_path_libraries(path):
    windows, posix = PureWindowsPath(path), PurePosixPath(path)
    leaves = windows.anchor or posix.is_absolute() or ".." in (*windows.parts, *posix.parts)
    address = path[:1].isalpha() and ":/" in path and path.split(":/")[0].replace("+", "").replace("-", "").isalnum()
    if not address and "." not in path.split(":/")[0]:
        assert bool(LEAVES_ROOT.search(path)) == bool(leaves)


def test_splits_take_their_usual_names(folder):
    table = read(folder, "path,label,split\n1.png,a,Train\n2.png,b,validation\n3.png,b,test\n")
    assert table["split"].tolist() == ["train", "val", "test"]
    left, found = faults(folder, "path,label,split\n1.png,a,dev\n2.png,b,train\n")
    assert left == ["2.png"]
    assert found == {"DATA211": [Case("1.png", "row 2, split 'dev'")]}


def test_weights_are_finite_numbers_of_at_least_0(folder):
    table = read(folder, "path,label,weight\n1.png,a,2\n2.png,b,0.5\n")
    assert table["weight"].dtype == np.float64
    assert table["weight"].tolist() == [2.0, 0.5]
    for weight in ("-1", "inf", "nan", "much"):
        left, found = faults(folder, f"path,label,weight\n1.png,a,2\n2.png,b,{weight}\n")
        assert left == ["1.png"]
        assert found == {"DATA212": [Case("2.png", f"row 3, weight '{weight}'")]}


def test_identical_rows_count_once(folder):
    left, found = faults(folder, "path,label\n2.png,b\n1.png,a\n1.png,a\n./1.png,a\n")
    assert left == ["2.png", "1.png"]
    assert found == {"DATA213": [Case("1.png", "row 4"), Case("1.png", "row 5")]}


def test_contradicting_rows_are_named_and_all_left_out(folder):
    content = "path,label,group\n1.png,a,x\n2.png,b,y\n1.png,b,x\n2.png,b,z\n3.png,a,x\n"
    left, found = faults(folder, content)
    assert left == ["3.png"]
    assert found == {
        "DATA214": [Case("1.png", "rows 2, 4: label differ"), Case("2.png", "rows 3, 5: group differ")],
    }


def test_every_kind_of_fault_is_reported_at_once(folder):
    content = (
        "path,label,split,weight\n1.png,a,train,1\n2.png,,dev,-1\n../3.png,b,test,1\n"
        "gone.png,b,val,1\n3.png,b,test,1\n3.png,b,test,1\n"
    )
    table, findings = read_table(write(folder, content), folder)
    assert table["path"].tolist() == ["1.png", "3.png"]
    assert [finding.code for finding in findings] == ["DATA108", "DATA208", "DATA209", "DATA211", "DATA212", "DATA213"]
    assert findings[0].message == "1 of 6 rows: missing file."


def test_missing_files_pipes_and_folders_are_left_out(folder):
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    left, found = faults(folder, "path,label\n1.png,a\ngone.png,b\nfolder.png,b\npipe.png,b\n.,a\n")
    assert left == ["1.png"]
    assert found == {
        "DATA107": [Case("pipe.png", "row 5")],
        "DATA108": [Case("gone.png", "row 3"), Case("folder.png", "row 4"), Case(".", "row 6")],
    }


def test_a_table_longer_than_what_is_read_at_once_keeps_its_row_numbers(folder, monkeypatch):
    monkeypatch.setattr("fitwell.data.table.ROWS_AT_ONCE", 2)
    content = "path,label\n1.png,a\n\n2.png,b\n3.png,c\n1.png,a\ngone.png,b\n"
    left, found = faults(folder, content)
    assert left == ["1.png", "2.png", "3.png"]
    assert found == {"DATA108": [Case("gone.png", "row 7")], "DATA213": [Case("1.png", "row 6")]}


def test_links_out_of_the_folder_are_left_out(folder):
    inside = folder / "inside"
    inside.mkdir()
    (inside / "own.png").touch()
    (inside / "link.png").symlink_to(folder / "1.png")
    (inside / "fine.png").symlink_to("own.png")
    left, found = faults(inside, "path,label\nlink.png,a\nfine.png,b\n")
    assert left == ["fine.png"]
    assert found == {"DATA111": [Case("link.png", "row 2")]}


def test_backslashes_are_folders_only_where_that_finds_the_file(folder):
    (folder / "a").mkdir()
    (folder / "a" / "1.png").touch()
    (folder / "b\\2.png").touch()
    left, found = faults(folder, "path,label\na\\1.png,x\nb\\2.png,y\nc\\3.png,y\n")
    assert left == ["a/1.png", "b\\2.png"]
    assert found == {"DATA108": [Case("c\\3.png", "row 4")], "DATA210": [Case("a\\1.png", "row 2")]}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_cell_that_a_spreadsheet_would_run_is_escaped(start):
    assert escape_cell(f"{start}cmd") == f"'{start}cmd"
    assert escape_cell(f"x{start}") == f"x{start}"
    assert escape_cell("") == ""


CELL = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(
    labels=st.lists(CELL.filter(str.strip), min_size=1, max_size=3), dialect=st.sampled_from(",;\t"), mark=st.booleans()
)
def test_labels_are_read_back_exactly_whatever_they_hold(folder, labels, dialect, mark):
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=dialect, quoting=csv.QUOTE_ALL)
    writer.writerows([["path", "label"], *([f"{row + 1}.png", label] for row, label in enumerate(labels))])
    content = file.getvalue().encode("utf-8-sig" if mark else "utf-8")
    assert read(folder, content)["label"].tolist() == labels


@QUICK
@given(
    head=st.sampled_from(
        [b"path,label\n", b"path;label;group;split;weight\n", b"\xff\xfep", b"\xef\xbb\xbf", b'"', b""]
    ),
    body=st.lists(
        st.one_of(
            CELL.map(str.encode), st.binary(max_size=4), st.sampled_from([b",", b"\n", b'"', b"1.png", b"..", b"\r"])
        ),
        max_size=20,
    ),
    name=st.sampled_from(["t.csv", "t.tsv", "t.parquet"]),
)
def test_nothing_but_a_data_error_comes_out_of_any_table(folder, head, body, name):
    try:
        table, findings = read_table(write(folder, head + b"".join(body), name), folder)
    except DataError as error:
        assert error.code in ("DATA206", "DATA207")  # noqa: PT017 - a table is read or refused
        return
    assert set(table["path"]) <= {"1.png", "2.png", "3.png", "na\nme.png", "a;b.png", "labels.csv", name}
    assert all(finding.cases for finding in findings)


@QUICK
@given(path=st.text(st.sampled_from("./\\:~ab1.png\0\n%*"), max_size=20).filter(str.strip))
def test_no_path_leads_out_of_the_folder(folder, path):
    inside = folder / "inside"
    inside.mkdir(exist_ok=True)
    (inside / "1.png").touch()
    left, _ = faults(inside, f'path,label\n"{path}",a\n')
    assert [(inside / name).resolve().is_relative_to(inside) for name in left] == [True] * len(left)


def test_naming_the_first_counts_the_rest():
    assert name_first([]) == ""
    assert name_first("abc", limit=3) == "a, b, c"
    assert name_first("abcd", limit=3) == "a, b, c and 1 more"


SEVERAL = Labelling(several=True)
COLUMNS = Labelling(several=True, columns=("cat", "dog"))


def read_several(folder, content, labelling=SEVERAL, name="labels.csv"):
    return read_table(write(folder, content, name), folder, labelling)


def test_labels_of_several_classes_are_trimmed_sorted_and_stand_once_and_blank_is_none(folder):
    table, findings = read_several(folder, "path,label\n1.png, dog |cat\n2.png,\n3.png,cat|cat\n")
    assert table["label"].tolist() == ["cat|dog", "", "cat"]
    assert findings == ()


def test_a_blank_label_of_one_class_is_still_a_fault(folder):
    assert faults(folder, "path,label\n1.png,\n2.png,a\n")[1].keys() == {"DATA208"}


def test_columns_of_zero_and_one_become_the_label(folder):
    content = "path,dog,site,cat\n1.png,1,north,1\n2.png,0,south,0\n3.png,1.0,north,false\n"
    table, findings = read_several(folder, content, COLUMNS)
    assert findings == ()
    assert table.to_dict("list") == {
        "path": ["1.png", "2.png", "3.png"],
        "site": ["north", "south", "north"],
        "label": ["cat|dog", "", "dog"],
    }


def test_columns_of_parquet_may_be_numbers_or_truths(folder):
    table = pa.table({"path": ["1.png", "2.png"], "cat": [True, False], "dog": [0.0, 1.0]})
    pq.write_table(table, folder / "labels.parquet")
    assert read_table(folder / "labels.parquet", folder, COLUMNS)[0]["label"].tolist() == ["cat", "dog"]


@pytest.mark.parametrize("cell", ["", "-1", "2", "yes", "nan"])
def test_what_is_neither_zero_nor_one_is_named_by_row_and_column(folder, cell):
    content = f"path,cat,dog\n1.png,1,0\n2.png,0,{cell}\n3.png,0,1\n"
    table, (finding,) = read_several(folder, content, COLUMNS)
    assert table["path"].tolist() == ["1.png", "3.png"]
    assert (finding.code, finding.severity) == ("DATA217", "error")
    assert list(finding.cases) == [Case("2.png", f"row 3, dog {cell!r}")]


def test_a_missing_column_is_named(folder):
    with pytest.raises(DataError, match="rename or add 'dog'") as caught:
        read_several(folder, "path,cat\n1.png,1\n", COLUMNS)
    assert caught.value.code == "DATA207"


def test_labels_beside_columns_are_two_answers(folder):
    with pytest.raises(DataError, match="has the column label beside cat, dog"):
        read_several(folder, "path,label,cat,dog\n1.png,cat,1,0\n", COLUMNS)


def test_the_split_of_a_run_by_columns_can_be_read_by_them_again(folder):
    table, _ = read_several(folder, "path,label\n1.png,cat|dog\n2.png,\n", COLUMNS)
    assert table["label"].tolist() == ["cat|dog", ""]


def test_rows_that_say_the_same_in_another_order_count_once(folder):
    table, (finding,) = read_several(folder, "path,label\n1.png,cat|dog\n1.png,dog|cat\n2.png,dog\n")
    assert table["path"].tolist() == ["1.png", "2.png"]
    assert finding.code == "DATA213"
