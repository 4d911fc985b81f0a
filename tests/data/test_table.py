import numpy as np
import pandas as pd
import pytest

from fitwell.data.table import name_first, read_cells, read_table
from fitwell.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for name in ("1.png", "2.png", "3.png", "na\nme.png", "a;b.png"):
        (tmp_path / name).touch()
    return tmp_path


def read(folder, content, name="labels.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, folder)


def fault(folder, content, name="labels.csv"):
    with pytest.raises(DataError) as caught:
        read(folder, content, name)
    return caught.value


def test_every_label_stays_the_text_it_is(folder):
    for label in ("no", "on", "007", "1.0", "NA", "null", "nan", "True", " padded"):
        assert read(folder, f"path,label\n1.png,{label}\n2.png,x\n")["label"].tolist() == [label, "x"]


def test_rows_come_in_path_order_and_further_columns_stay_text(folder):
    table = read(folder, "site,label,path,shots\nnorth,b,2.png,01\n,a,1.png,\n")
    assert table.to_dict("list") == {
        "site": ["", "north"],
        "label": ["a", "b"],
        "path": ["1.png", "2.png"],
        "shots": ["", "01"],
    }


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
    assert table["path"].tolist() == ["a;b.png", "na\nme.png"]


def test_parquet_values_become_text(folder):
    frame = {
        "path": ["1.png", "2.png", "3.png"],
        "label": [7, 8, 7],
        "dose": [0.5, None, 2.0],
        "weight": [1.0, 0.25, 3],
    }
    pd.DataFrame(frame).to_parquet(folder / "labels.parquet")
    table = read_table(folder / "labels.parquet", folder)
    assert table["label"].tolist() == ["7", "8", "7"]
    assert table["dose"].tolist()[0::2] == ["0.5", "2.0"]
    assert table["weight"].tolist() == [1.0, 0.25, 3.0]


def test_a_missing_parquet_label_is_named_by_its_row(folder):
    pd.DataFrame({"path": ["1.png", "2.png"], "label": ["a", None]}).to_parquet(folder / "labels.parquet")
    with pytest.raises(DataError, match=r"label is blank in 1 row\(s\): row 2 \('2.png'\)"):
        read_table(folder / "labels.parquet", folder)


@pytest.mark.parametrize("columns", [{}, {"path": [], "label": []}])
def test_an_empty_parquet_table_has_no_rows(folder, columns):
    pd.DataFrame(columns).to_parquet(folder / "labels.parquet")
    assert len(read_cells(folder / "labels.parquet")) == 0


def test_missing_columns_list_the_ones_found(folder):
    error = fault(folder, "file,label,site\n1.png,a,x\n")
    assert error.found == f"{folder / 'labels.csv'} has the columns 'file', 'label', 'site'."
    assert error.expected == "at least the columns 'path' and 'label', named in the first row."
    assert error.fix == "rename or add 'path'."
    assert fault(folder, "").found.endswith("has the columns (none).")


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (b"path,label\n\xff\xfe1.png,a\n", "t.csv", "byte 11 is not utf-8"),
        ('path,label\n1.png,"a\n2.png,b\n', "t.csv", "unexpected end of data"),
        ("path,label\n1.png,a,b\n", "t.csv", "row 2 has 3 cells, the header has 2"),
        ("path,label\n1.png,a\n2.png\n", "t.csv", "row 3 has 1 cells, the header has 2"),
        ("path,label,label\n1.png,a,b\n", "t.csv", "the column 'label' is named more than once"),
        (b"PAR1 no parquet", "t.parquet", "Parquet"),
    ],
)
def test_what_is_no_table_is_refused(folder, content, name, reason):
    error = fault(folder, content, name)
    assert error.found.startswith(f"{folder / name} cannot be read as a table: ")
    assert reason in error.found
    assert error.expected.startswith("CSV or TSV in UTF-8")
    assert error.fix.startswith("save it again as CSV in UTF-8")


@pytest.mark.parametrize("column", ["label", "group", "split", "path", "weight"])
def test_blank_cells_are_named_by_their_row(folder, column):
    frame = pd.DataFrame(
        {
            "path": ["1.png", "2.png", "3.png"],
            "label": ["a", "b", "a"],
            "group": ["x", "y", "z"],
            "split": "train",
            "weight": "1",
        },
        dtype=object,
    )
    frame.loc[1, column] = "  "
    error = fault(folder, frame.to_csv(index=False))
    where = "'  '" if column == "path" else "'2.png'"
    assert error.found == f"{column} is blank in 1 row(s): row 3 ({where})."
    assert error.expected == "every row to name one image below the folder of images, and its class."
    assert error.fix == f"fill in {column} (the header is row 1)."


def test_optional_columns_that_are_blank_throughout_are_as_good_as_absent(folder):
    table = read(folder, "path,label,group,split,weight\n1.png,a,,,\n2.png,b, ,,\n")
    assert list(table.columns) == ["path", "label"]


def test_blank_rows_count_in_the_numbering(folder):
    assert "row 5 ('2.png')" in fault(folder, "path,label\n1.png,a\n\n,\n2.png,\n").found


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../1.png",
        "a/../../1.png",
        "file:///etc/passwd",
        "https://host/1.png",
        "C:\\1.png",
        "\\\\host\\share\\1.png",
        "..\\1.png",
        "1.png\0.jpg",
    ],
)
def test_paths_that_point_elsewhere_are_refused(folder, path):
    error = fault(folder, f"path,label\n1.png,a\n{path},b\n")
    assert error.found == f"path is absolute, an address, or climbs with '..' in 1 row(s): row 3 ({path!r})."
    assert error.fix == "write each path relative to the folder of images (the header is row 1)."


def test_splits_take_their_usual_names(folder):
    table = read(folder, "path,label,split\n1.png,a,Train\n2.png,b,validation\n3.png,b,test\n")
    assert table["split"].tolist() == ["train", "val", "test"]
    error = fault(folder, "path,label,split\n1.png,a,dev\n2.png,b,train\n")
    assert error.found == "split is unknown in 1 row(s): row 2 ('1.png')."
    assert error.fix == "write 'train', 'val' or 'test' (the header is row 1)."


def test_weights_are_finite_numbers_of_at_least_0(folder):
    table = read(folder, "path,label,weight\n1.png,a,2\n2.png,b,0.5\n")
    assert table["weight"].dtype == np.float64
    assert table["weight"].tolist() == [2.0, 0.5]
    for weight in ("-1", "inf", "nan", "much"):
        error = fault(folder, f"path,label,weight\n1.png,a,2\n2.png,b,{weight}\n")
        assert error.found == "weight is no finite number of at least 0 in 1 row(s): row 3 ('2.png')."
        assert error.fix.startswith("write numbers such as 1 or 0.5")


def test_identical_rows_are_dropped(folder):
    assert len(read(folder, "path,label\n1.png,a\n2.png,b\n1.png,a\n./1.png,a\n")) == 2


def test_contradicting_rows_are_named(folder):
    content = "path,label,group\n1.png,a,x\n2.png,b,y\n1.png,b,x\n2.png,b,z\n3.png,a,x\n"
    error = fault(folder, content)
    assert error.found == (
        "2 image(s) with rows that contradict each other: "
        "'1.png' in rows 2, 4 (label differ), '2.png' in rows 3, 5 (group differ)."
    )
    assert error.expected == "one row per image."
    assert error.fix == "keep the right row of each image (the header is row 1)."


def test_missing_files_are_counted_and_the_first_ten_named(folder):
    content = "path,label\n1.png,a\n" + "".join(f"gone{number:02}.png,b\n" for number in range(12))
    error = fault(folder, content)
    assert error.found.startswith(f"12 of 13 images are not files below {folder}: gone00.png, ")
    assert error.found.endswith("gone09.png and 2 more.")
    assert error.expected.startswith("every path of the table")
    assert error.fix.startswith("correct the paths")


def test_links_out_of_the_folder_are_refused(folder):
    inside = folder / "inside"
    inside.mkdir()
    (inside / "own.png").touch()
    (inside / "link.png").symlink_to(folder / "1.png")
    (inside / "fine.png").symlink_to("own.png")
    error = fault(inside, "path,label\nlink.png,a\nfine.png,b\n")
    assert error.found == f"1 image(s) are links that leave {inside}: link.png."
    assert error.expected == "every image to lie below the folder of images."
    assert error.fix.startswith("copy the images into it")


def test_naming_the_first_counts_the_rest():
    assert name_first([]) == ""
    assert name_first("abc", limit=3) == "a, b, c"
    assert name_first("abcd", limit=3) == "a, b, c and 1 more"
