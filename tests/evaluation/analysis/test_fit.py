import pytest

from fitwell.evaluation.analysis.fit import analyse, measure_gap
from training_records import losses, make_epochs, make_training


def verdict(*epochs, **changes):
    return analyse(make_training(*epochs, **changes))["fit"]


def gap_of(train, val, *, images=(400, 100)):
    counts = ({"cat": images[0] // 2, "dog": images[0] // 2}, {"cat": images[1] // 2, "dog": images[1] // 2})
    (epoch,) = make_epochs(val, train=[{"loss": 1.0, "accuracy": train}])
    return measure_gap(make_training(epoch, train_counts=counts[0], val_counts=counts[1]), epoch)


def test_a_gap_is_clear_beyond_the_noise_of_both():
    # 0.9 of 400: 0.01517; 0.82 of 100: 0.03882; 1.96 * 0.04168 = 0.0817
    assert gap_of(0.9, 0.82) == {
        "train": 0.9,
        "val": 0.82,
        "difference": pytest.approx(0.08),
        "clear": False,
        "reason": None,
    }
    assert gap_of(0.9, 0.81)["clear"]


def test_a_gap_below_5_points_is_none_however_many_images_there_are():
    assert not gap_of(0.9, 0.8501, images=(10**6, 10**6))["clear"]
    assert gap_of(0.9, 0.8499, images=(10**6, 10**6))["clear"]


def test_val_above_train_is_no_gap():
    assert not gap_of(0.5, 0.9)["clear"]


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ("augment: {mixup: 0.2}", "blended"),
        ("augment: {cutmix: 1.0}", "blended"),
        ("balance: {sampler: balanced}", "drawn evenly"),
    ],
)
def test_what_cannot_be_compared_has_no_gap_and_says_why(recipe, reason):
    epochs = make_epochs(0.1, train=[{"loss": 1.0, "accuracy": 0.9}])
    analysis = analyse(make_training(*epochs, recipe=recipe))
    assert analysis["gap"]["difference"] is None
    assert reason in analysis["fit"]["evidence"][0]


def test_a_searched_head_is_compared_even_so():
    epochs = make_epochs(0.5, train=[{"loss": 1.0, "accuracy": 0.9}], learning_rate=[{}])
    analysis = analyse(make_training(*epochs, recipe="augment: {mixup: 0.2}"))
    assert analysis["gap"]["clear"]
    assert "on plain pictures, the ones the head was fitted to" in analysis["fit"]["evidence"][0]


def test_of_several_classes_an_image_there_is_no_gap():
    epochs = make_epochs(0.9, metric="auc", train=[{"loss": 1.0, "exact_match": 0.9}])
    assert analyse(make_training(*epochs, metric="auc"))["gap"]["reason"].startswith("Train and val are not recorded")


def course(*pairs, train_accuracy=0.9, values=None):
    train, val = losses(*pairs, accuracy=train_accuracy)
    values = values or [0.9] * len(pairs)
    records = [{"accuracy": value, "log_loss": loss} for value, loss in zip(values, val, strict=True)]
    return make_epochs(*values, train=train, val=records)


def test_it_grew_overconfident_where_the_val_loss_ends_a_tenth_above_its_lowest():
    assert verdict(*course((1.0, 0.6), (0.8, 0.5), (0.6, 0.55)))["verdict"] == "overconfident"
    assert verdict(*course((1.0, 0.6), (0.8, 0.5), (0.6, 0.549)))["verdict"] == "no sign"


def test_a_val_loss_that_rises_while_trains_does_not_fall_is_no_overfitting():
    assert verdict(*course((1.0, 0.6), (0.8, 0.5), (0.8, 0.9)))["verdict"] == "no sign"


def test_a_turned_loss_with_a_gap_is_overfitting():
    # 0.96 of 400 and 0.9 of 100: 1.96 * hypot(0.0104, 0.0313) = 0.0647 is more than 0.06; of 0.97 it is 0.0642.
    turned = (1.0, 0.6), (0.8, 0.5), (0.6, 0.55)
    assert verdict(*course(*turned, train_accuracy=0.96))["verdict"] == "overconfident"
    assert verdict(*course(*turned, train_accuracy=0.97))["verdict"] == "overfitting"


def test_a_val_metric_that_fell_with_a_gap_is_overfitting():
    # The best of 3 epochs: 2.394 errors; of 0.9 and 0.76 hypot(0.0313, 0.0423) * 2.394 = 0.126 is less than 0.14.
    fit = verdict(*course((1.0, 0.5), (0.8, 0.5), (0.6, 0.5), values=[0.9, 0.8, 0.76]))
    assert fit["verdict"] == "overfitting"
    assert fit["evidence"][-1] == "The last val accuracy is clearly worse than the best, epoch 1 of tune."
    fit = verdict(*course((1.0, 0.5), (0.8, 0.5), (0.6, 0.5), values=[0.9, 0.8, 0.79]))
    assert fit["verdict"] == "gap"
    assert fit["evidence"][-1] == "The last val accuracy is within noise of the best, epoch 1 of tune."


def test_two_epochs_tell_no_turn():
    fit = verdict(*course((1.0, 0.5), (0.8, 5.0)))
    assert fit["verdict"] == "unknown"
    assert fit["evidence"][-1] == (
        "tune has too few epochs for a course: whether val turned is told from 3 epochs of a phase on."
    )


def test_the_evidence_quotes_the_losses():
    fit = verdict(*course((1.0, 0.6), (0.8, 0.5), (0.6, 0.55)))
    assert fit["evidence"][1] == (
        "Val loss was lowest in epoch 2 of tune (0.500) and ended at 0.550; train loss went from 0.800 to 0.600 "
        "meanwhile."
    )


def test_val_that_rose_to_the_end_is_still_improving():
    flat = ((1.0, 0.5), (0.8, 0.5), (0.6, 0.5))
    assert verdict(*course(*flat, values=[0.90, 0.91, 0.92]))["verdict"] == "still improving"
    assert verdict(*course(*flat, values=[0.91, 0.91, 0.92]))["verdict"] == "no sign"
    assert verdict(*course(*flat, (0.5, 0.5), values=[0.93, 0.90, 0.91, 0.92]))["verdict"] == "no sign"


def test_nothing_is_learned_where_no_epoch_is_clearly_above_chance():
    # Half of the 100 val images are cats; the best of 3 must be 2.394 errors above 0.5: of 0.61 that is 0.1147.
    flat = ((1.0, 0.5), (0.8, 0.5), (0.6, 0.5))
    assert verdict(*course(*flat, train_accuracy=0.5, values=[0.5, 0.61, 0.6]))["verdict"] == "underfitting"
    assert verdict(*course(*flat, train_accuracy=0.5, values=[0.5, 0.62, 0.6]))["verdict"] == "no sign"


def test_chance_is_that_of_the_metric():
    even = {"val_counts": {"cat": 90, "dog": 10}}
    worse_than_always_cat = course((1.0, 0.5), (1.0, 0.5), (1.0, 0.5), train_accuracy=0.8, values=[0.8] * 3)
    assert verdict(*worse_than_always_cat, **even)["verdict"] == "underfitting"
    ranked = make_epochs(0.8, 0.8, 0.8, metric="auc")
    assert verdict(*ranked, metric="auc", **even)["verdict"] == "no sign"


def test_a_metric_without_standard_error_claims_no_underfitting_and_says_so():
    analysis = analyse(make_training(*make_epochs(0.1, 0.1, 0.1, metric="macro_f1"), metric="macro_f1"))
    assert analysis["fit"]["verdict"] == "no sign"
    assert analysis["notes"] == [
        "No standard error of val macro F1 follows from these records, so what is noise in it, and when it converged, "
        "is not told."
    ]


def test_groups_of_val_are_a_note():
    (note,) = analyse(make_training(*make_epochs(0.9), val_groups=6))["notes"]
    assert "They are in 6 groups of images that are alike" in note
    assert analyse(make_training(*make_epochs(0.9)))["notes"] == []
    assert analyse(make_training(*make_epochs(0.9), val_groups=100))["notes"] == []  # each image is its own


def test_the_numbers_of_the_kept_and_the_last_epoch_stand_side_by_side():
    analysis = analyse(make_training(*make_epochs(0.9, 0.8)))
    assert [(row["which"], row["epoch"], row["val"]["accuracy"]) for row in analysis["numbers"]] == [
        ("kept", 1, 0.9),
        ("last", 2, 0.8),
    ]
    assert [label for _, _, label in analysis["shown"]] == [
        "Train loss",
        "Train accuracy",
        "Val accuracy",
        "Val log loss",
    ]


def test_an_epoch_whose_val_is_not_defined_is_never_the_best():
    analysis = analyse(make_training(*make_epochs(None, 0.9)))
    assert analysis["numbers"][0]["epoch"] == 2
    analysis = analyse(make_training(*make_epochs(None, None, None)))
    assert analysis["convergence"]["epoch"] is None
