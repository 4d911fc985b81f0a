import re
from xml.etree import ElementTree

import numpy as np
import pytest

from fitwell.evaluation.charts import (
    confidence_chart,
    confusion_chart,
    inline,
    learning_curves,
    learning_rate_curve,
    reliability_chart,
    risk_coverage_chart,
    roc_chart,
    shorten,
    spell,
)

EVIL = '<img onerror=alert(1)>&"'


SELECTIVE = {
    "curve": [[0.25, 0.0], [0.5, 0.5], [0.75, 1 / 3], [1.0, 0.5]],
    "augrc": {"value": 0.25},
    "error_at_90": {"value": 0.5},
}

CONFIDENCE = {
    "right": {"counts": [0] * 5 + [1, 2, 3, 4, 40], "median": 0.95},
    "wrong": {"counts": [0] * 5 + [7, 2, 0, 0, 0], "median": 0.55},
}


def make_epochs():
    plan = [("head", 1, 10), ("head", 2, 20), ("fine-tune", 1, 30)]
    return [
        {
            "phase": phase,
            "epoch": epoch,
            "step": step,
            "train": {"loss": 1 / step},
            "val": {"log_loss": 2 / step, "auc": None if step == 10 else 0.5 + step / 100},
            "learning_rate": {"head": 1e-3, "backbone": 0.0 if phase == "head" else 1e-4},
        }
        for phase, epoch, step in plan
    ]


def texts(svg):
    """Return what a reader sees; raises where the SVG is no XML."""
    root = ElementTree.fromstring(svg)  # noqa: S314
    return ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]


def draw_everything():
    epochs = make_epochs()
    return [
        learning_curves(epochs, metric="auc", best_step=30),
        learning_rate_curve(epochs),
        confusion_chart(np.array([[3, 1], [0, 4]]), ["cat", "dog"]),
        roc_chart(np.array([[0, 0], [0, 0.5], [1, 1]]), positive="dog", area=0.75),
        reliability_chart(make_calibration()),
        confidence_chart(CONFIDENCE),
        risk_coverage_chart(SELECTIVE),
    ]


def make_calibration(*, tempered=True):
    bins = [
        {"low": low, "high": low + 0.2, "count": 5, "confidence": low + 0.1, "accuracy": 0.6, "interval": [0.3, 0.8]}
        for low in (0.4, 0.8)
    ]
    part = {"reliability": bins}
    return {"plain": part, "tempered": part if tempered else None}


def test_the_same_numbers_give_the_same_bytes_without_a_date():
    first, again = draw_everything(), draw_everything()
    assert first == again
    assert not any(re.search(r"20\d\d-\d\d-\d\d", svg) for svg in first)


def test_learning_curves_name_losses_phases_and_the_kept_epoch():
    seen = texts(learning_curves(make_epochs(), metric="auc", best_step=30))
    for text in ("train", "val", "head", "fine-tune", "kept", "Validation AUC (higher is better)"):
        assert text in seen


def test_learning_curves_of_one_epoch_without_a_best_show_a_point():
    svg = learning_curves(make_epochs()[1:2], metric="log_loss", best_step=None)
    seen = texts(svg)
    assert "kept" not in seen
    assert "Validation log loss (lower is better)" in seen
    assert "<use " in svg


def test_reliability_chart_tells_plain_from_tempered():
    seen = texts(reliability_chart(make_calibration()))
    for text in ("right (share)", "images", "as they are", "with the temperature", "as sure as right"):
        assert text in seen
    assert "with the temperature" not in texts(reliability_chart(make_calibration(tempered=False)))


def test_the_confidence_chart_draws_wrong_answers_downwards_with_plain_counts():
    seen = texts(confidence_chart(CONFIDENCE))
    assert {"right", "wrong", "images"} <= set(seen)
    assert seen.count("20") == 2
    assert not [text for text in seen if text.startswith("-")]


def test_learning_rate_curve_leaves_out_a_part_that_never_trains():
    assert {"head", "backbone"} <= set(texts(learning_rate_curve(make_epochs())))
    assert "backbone" not in texts(learning_rate_curve(make_epochs()[:2]))


def test_the_risk_coverage_chart_says_what_abstaining_is_worth():
    seen = texts(risk_coverage_chart(SELECTIVE))
    for text in ("AUGRC 0.2500 (lower is better)", "surest 90 %: 0.500", "of all images"):
        assert text in seen


def test_confusion_chart_spells_its_axes_and_shows_counts_and_shares():
    seen = texts(confusion_chart(np.array([[1500, 500], [0, 0]]), ["cat", "dog"]))
    for text in ("actual (rows)", "predicted (columns)", "1,500", "75%", "25%", "0%"):
        assert text in seen


@pytest.mark.parametrize(("num_classes", "numbers", "names"), [(12, True, True), (30, False, True), (70, False, False)])
def test_confusion_chart_drops_numbers_then_names_as_classes_grow(num_classes, numbers, names):
    matrix = np.full((num_classes, num_classes), 4321)
    seen = texts(confusion_chart(matrix, [f"class {index}" for index in range(num_classes)]))
    assert ("4,321" in seen) == numbers
    assert ("class 5" in seen) == names
    assert "50%" not in seen


@pytest.mark.parametrize("name", [EVIL, "$\\frac{$", "cost $5 or $6", "\u732b\U0001f600", "a\x00\x1bb", "x" * 300, ""])
def test_names_of_strangers_are_drawn_as_they_are_and_never_run(name):
    charts = [
        confusion_chart(np.eye(2, dtype=int), [name, "dog"]),
        roc_chart(np.array([[0.0, 0.0], [1.0, 1.0]]), positive=name, area=0.5),
    ]
    for svg in charts:
        assert "<img" not in svg
        assert "<img" not in inline(svg, "chart", shorten(name))
        ElementTree.fromstring(inline(svg, "chart", shorten(name)))  # noqa: S314
    assert shorten(name) in texts(charts[0]) or name == ""


def test_shorten_keeps_22_characters_and_replaces_what_xml_cannot_hold():
    assert shorten("a" * 22) == "a" * 22
    assert shorten("a" * 23) == "a" * 21 + "\u2026"
    assert shorten("a\nb\x00") == "a\ufffdb\ufffd"


def test_inline_charts_share_no_id_take_the_ink_of_the_page_and_name_themselves():
    svg = draw_everything()[0]
    one, two = inline(svg, "one", "Loss"), inline(svg, "two", 'A "quoted" thing')
    assert not set(re.findall(r'\bid="([^"]+)"', one)) & set(re.findall(r'\bid="([^"]+)"', two))
    for reference in re.findall(r'(?:href="#|url\(#)([^")]+)', one):
        assert f'id="{reference}"' in one
    assert one.startswith('<svg role="img" aria-label="Loss"')
    assert 'aria-label="A &#34;quoted&#34; thing"' in two
    assert "currentColor" in one
    assert "#1f2328" not in one
    assert "#fffffe" not in one
    assert "<metadata>" not in one
    assert "<!DOCTYPE" not in one


def test_spell_writes_metrics_as_people_do():
    assert [spell(name) for name in ("auc", "macro_f1", "balanced_accuracy")] == [
        "AUC",
        "macro F1",
        "balanced accuracy",
    ]
