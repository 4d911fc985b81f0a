"""Temperature and threshold are chosen on val, kept in run.json, and only judged on other images."""

import numpy as np
import pytest

from fitwell.evaluation.calibration import fit_temperature
from fitwell.evaluation.choices import choose_on_val, judge_choices
from fitwell.evaluation.intervals import find_units
from fitwell.evaluation.metrics import softmax
from fitwell.evaluation.operating_point import choose_threshold
from fitwell.recipe.judge import parse_rule
from fitwell.run_folder import RunFolder

CLASSES = ("cat", "dog")


def make_run(folder, rule="youden"):
    run = RunFolder(folder)
    run.recipe.write_text(f"judge: {{operating_point: '{rule}'}}\n", encoding="utf-8")
    return run


def make_logits(num_images, seed, classes=CLASSES):
    rng = np.random.default_rng(seed)
    labels = np.arange(num_images) % len(classes)
    return rng.normal(size=(num_images, len(classes))) + 1.5 * np.eye(len(classes))[labels], labels


def choose(run, logits, labels, classes=CLASSES):
    choose_on_val(run, logits, [classes[label] for label in labels], classes)
    return run.read()


def test_both_choices_are_kept_with_what_they_rest_on(tmp_path):
    logits, labels = make_logits(60, 1)
    record = choose(make_run(tmp_path, "specificity >= 0.8"), logits, labels)
    temperature = {"value": fit_temperature(logits, labels), "fitted_on": "val", "num_images": 60}
    assert record["temperature"] == temperature
    threshold = choose_threshold(softmax(logits)[:, 1], labels == 1, parse_rule("specificity >= 0.8")).threshold
    assert record["operating_point"] == {
        "rule": "specificity >= 0.8",
        "positive": "dog",
        "threshold": threshold,
        "reason": None,
        "chosen_on": "val",
        "num_images": 60,
    }


def test_other_images_are_judged_by_the_choices_of_val(tmp_path):
    run = make_run(tmp_path)
    record = choose(run, *make_logits(60, 1))
    logits, labels = make_logits(90, 2)
    found = judge_choices(run, logits, labels, find_units(labels, None))
    called = softmax(logits)[:, 1] >= record["operating_point"]["threshold"]
    assert found["operating_point"]["here"]["sensitivity"]["value"] == called[labels == 1].mean()
    assert found["operating_point"]["chosen_on"] == "val"
    assert found["calibration"]["temperature"] == record["temperature"]
    assert found["calibration"]["tempered"]["log_loss"] != found["calibration"]["plain"]["log_loss"]
    assert run.read()["temperature"] == record["temperature"]


def test_val_of_one_class_has_a_reason_in_place_of_both(tmp_path):
    run = make_run(tmp_path)
    logits, labels = make_logits(20, 3)
    record = choose(run, logits, np.zeros_like(labels))
    assert record["temperature"]["value"] is None
    assert record["temperature"]["reason"].startswith("1 class(es) in the 20 images that a temperature is fitted on.")
    assert record["operating_point"]["threshold"] is None
    assert record["operating_point"]["reason"].startswith("the images hold one class only")
    found = judge_choices(run, logits, labels, find_units(labels, None))
    assert found["calibration"]["tempered"] is None
    assert "here" not in found["operating_point"]


def test_more_classes_have_a_temperature_and_no_threshold(tmp_path):
    classes = ("cat", "dog", "owl")
    record = choose(make_run(tmp_path), *make_logits(60, 1, classes), classes)
    assert record["temperature"]["value"] > 0
    assert record["operating_point"] is None


def test_before_val_was_judged_there_is_no_choice(tmp_path):
    logits, labels = make_logits(30, 1)
    found = judge_choices(RunFolder(tmp_path), logits, labels, find_units(labels, None))
    assert found["operating_point"] is None
    assert found["calibration"]["temperature"] is None
    assert found["calibration"]["plain"]["ece"]["value"] == pytest.approx(0.1, abs=0.1)
