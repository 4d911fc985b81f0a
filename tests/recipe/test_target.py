import pytest
from pydantic import ValidationError

from fitwell.recipe.schema import Recipe
from fitwell.recipe.target import Target, refused_setting

CHOSEN = {"loss.kind": "cross_entropy", "select.metric": "auto", "balance.sampler": "none"}


def test_an_image_shows_one_class_unless_it_is_said():
    assert Recipe().target.kind == "single"
    assert not Recipe().target.is_multi_label
    assert Target(kind="multi_label", columns=("a", "b")).is_multi_label


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"kind": "multi_label", "order": ["a", "b"]}, "order is given and kind is multi_label; expected kind: single"),
        ({"columns": ["a", "b"]}, "columns are given and kind is single; expected kind: multi_label"),
        ({"kind": "multi_label", "columns": ["a"]}, "columns names a alone; expected two classes"),
        ({"kind": "multi_label", "columns": ["a", "b", "a"]}, "columns names a more than once"),
        ({"kind": "multi_label", "columns": ["a", "b|c"]}, r"columns names 'b\|c'; expected a class, without \|"),
        ({"kind": "multi_label", "columns": ["a", "path"]}, "columns names 'path'"),
        ({"kind": "multi_label", "columns": ["a", " b"]}, "columns names ' b'"),
        ({"kind": "multi_label", "columns": ["a", ""]}, "columns names ''"),
    ],
)
def test_a_target_that_contradicts_itself_is_refused(target, message):
    with pytest.raises(ValidationError, match=message):
        Target.model_validate(target)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("judge", {"positive": "a"}, "judge.positive is a and target.kind is multi_label; expected no positive class"),
        ("loss", {"kind": "ordinal"}, "loss.kind is ordinal and target.kind is multi_label; expected cross_entropy or"),
        ("select", {"metric": "accuracy"}, "select.metric is accuracy .* expected auc, average_precision or log_loss"),
        ("select", {"metric": "macro_f1"}, "which need no threshold"),
        ("balance", {"sampler": "balanced"}, "balance.sampler is balanced .* brings its others along"),
    ],
)
def test_settings_of_single_classes_are_refused_with_their_key(section, values, message):
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate({section: values, "target": {"kind": "multi_label"}, "phases": [PHASE]})


def test_average_precision_is_for_several_classes_an_image():
    with pytest.raises(ValidationError, match=r"select\.metric is average_precision and target\.kind is single"):
        Recipe.model_validate({"select": {"metric": "average_precision"}})
    Recipe.model_validate({"select": {"metric": "average_precision"}, "target": {"kind": "multi_label"}})


def test_what_fits_is_not_refused():
    several = Target(kind="multi_label")
    for change in ({}, {"loss.kind": "focal"}, {"select.metric": "auc"}, {"select.metric": "log_loss"}):
        assert refused_setting(several, CHOSEN | change) is None
        assert refused_setting(Target(), CHOSEN | change) is None


PHASE = {"name": "head", "train": "head", "epochs": 1, "learning_rate": 0.1}
