import json

import pytest

from fitwell.cli.output import print_candidates, print_error, print_json, print_verdict, print_warnings
from fitwell.data.finding import Finding
from fitwell.errors import DataError

METRICS = {
    "split": "test",
    "num_images": 40,
    "num_groups": 6,
    "metrics": {
        "auc": {"value": 0.8711, "interval": [0.81, 0.9249]},
        "accuracy": {"value": 0.8, "interval": [0.7, 0.9]},
        "macro_f1": {"value": None, "interval": None},
        "log_loss": {"value": 0.512, "interval": None},
    },
    "baseline": {"label": "functional", "accuracy": {"value": 0.6, "interval": [0.5, 0.7]}, "balanced_accuracy": 0.5},
}


def test_the_verdict_shows_every_number_with_its_interval_beside_the_baseline(capsys, tmp_path):
    print_verdict(METRICS, tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        "test: 40 images, 6 groups",
        "  auc                0.871  (95 % interval 0.810 to 0.925)",
        "  accuracy           0.800  (95 % interval 0.700 to 0.900)",
        "  macro f1           not defined",
        "  log loss           0.512",
        "  majority baseline  accuracy 0.600  (95 % interval 0.500 to 0.700), always 'functional'; "
        "balanced accuracy 0.500",
        f"run: {tmp_path}",
        f"report: {tmp_path / 'report.html'}",
    ]


def test_candidates_are_a_table_with_the_chosen_ones_marked(capsys):
    measured = {"setting": "engine", "images_per_second": 31.04, "agreement": 0.99999987, "error": 0.0, "problem": ""}
    print_candidates(
        [
            {**measured, "value": "eager", "chosen": False},
            {**measured, "value": "onnxruntime", "images_per_second": 71.0, "error": 0.00012, "chosen": True},
            {**measured, "value": "openvino", "problem": "it cannot run this backbone.", "chosen": False},
        ]
    )
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "   setting  candidate      images/s  agreement   error",
        "   engine   eager              31.0   1.000000  0.0000",
        "*  engine   onnxruntime        71.0   1.000000  0.0001",
        "   engine   openvino     cannot run",
    ]


def test_json_is_one_object_with_its_schema_version(capsys):
    print_json({"value": float("nan")})
    assert json.loads(capsys.readouterr().out) == {"schema_version": 1, "value": None}


@pytest.mark.parametrize("as_json", [True, False])
def test_an_error_keeps_its_three_parts(capsys, as_json):
    print_error(DataError(found="a", expected="b", fix="c"), as_json=as_json, code=3)
    captured = capsys.readouterr()
    if as_json:
        expected = {"code": 3, "kind": "DataError", "found": "a", "expected": "b", "fix": "c"}
        assert json.loads(captured.out)["error"] == expected
    else:
        assert captured.err == "error: Found: a\nExpected: b\nFix: c\n"


def test_an_error_about_images_says_where_there_is_more(capsys):
    error = DataError(found="a", expected="b", fix="c", code="DATA206")
    print_error(error, as_json=False, code=3)
    assert capsys.readouterr().err.endswith("Fix: c\nMore: fitwell explain DATA206\n")
    print_error(error, as_json=True, code=3)
    assert json.loads(capsys.readouterr().out)["error"]["finding"] == "DATA206"


def test_warnings_about_images_go_to_stderr_and_notices_do_not(capsys):
    print_warnings([Finding("DATA404", "Neighbours are alike."), Finding("DATA119", "1 of 2 images: palette.")])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "warning: DATA404 Neighbours are alike.\n"


def test_of_several_classes_an_image_each_is_shown_with_its_threshold(capsys, tmp_path):
    row = {"class": "dog", "support": 12, "threshold": 0.3456, "f1": {"value": 0.75, "interval": [0.5, 0.9]}}
    metrics = {
        "split": "test",
        "num_images": 40,
        "metrics": {"auc": {"value": 0.9, "interval": None}, "exact_match": {"value": 0.5, "interval": None}},
        "thresholds": {"split": "val"},
        "per_class": [{**row, "average_precision": {"value": None, "interval": None}}],
        "baseline": {"label": "", "exact_match": 0.4, "average_precision": 0.3},
    }
    print_verdict(metrics, tmp_path)
    assert capsys.readouterr().out.splitlines()[:-2] == [
        "test: 40 images",
        "  auc                0.900",
        "  exact match        0.500",
        "  dog: 12 images, threshold 0.346",
        "    F1 0.750  (95 % interval 0.500 to 0.900), average precision not defined",
        "  most usual label   exact match 0.400, always '(none)'; average precision of chance 0.300",
    ]
