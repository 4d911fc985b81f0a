import pytest

from fitwell.evaluation.analysis.course import (
    cost_after,
    describe_phase,
    find_convergence,
    follow_classes,
    name_epoch,
)
from training_records import make_epochs, make_training

# One standard error of 0.9 of 100 images is sqrt(0.8846 * 0.1154 / 104) = 0.03133: 0.87 lies within, 0.86 does not.


def test_it_converged_in_the_first_epoch_within_one_standard_error_of_the_best():
    epochs = make_epochs(0.86, 0.87, 0.9, 0.88)
    found = find_convergence(make_training(*epochs), epochs)
    assert (found["phase"], found["epoch"]) == ("tune", 2)
    assert found["standard_error"] == pytest.approx(0.03133, abs=1e-5)


def test_without_a_standard_error_it_is_not_told_when_it_converged():
    epochs = make_epochs(0.5, 0.9, metric="macro_f1")
    found = find_convergence(make_training(*epochs, metric="macro_f1"), epochs)
    assert found == {"phase": None, "epoch": None, "standard_error": None}


def test_of_equal_epochs_the_first_is_the_best_and_a_loss_is_best_when_small():
    epochs = make_epochs(0.8, 0.9, 0.9)
    assert name_epoch(make_training(*epochs).best(epochs)) == "epoch 2 of tune"
    epochs = make_epochs(0.8, 0.3, None, metric="log_loss")
    assert name_epoch(make_training(*epochs, metric="log_loss").best(epochs)) == "epoch 2 of tune"


def test_epochs_after_the_best_cost_their_time():
    training = make_training(*make_epochs(0.5, 0.9, 0.8, 0.7))
    cost = cost_after(training, training.best(training.epochs))
    assert cost == {"epochs": 2, "seconds": 6.0, "share": 0.5}


def test_a_phase_has_its_gain_per_epoch_and_says_whether_it_is_noise():
    phase = describe_phase(make_training(*make_epochs(0.5, 0.6, 0.9, 0.8)), "tune")
    assert (phase["first"], phase["best"], phase["best_epoch"], phase["last"]) == (0.5, 0.9, 3, 0.8)
    assert phase["gain_per_epoch"] == pytest.approx(0.2)
    assert phase["gain_is_clear"]
    assert phase["seconds"] == 12.0
    assert not describe_phase(make_training(*make_epochs(0.5, 0.6)), "tune")["gain_is_clear"]


def test_one_epoch_tells_no_course():
    phase = describe_phase(make_training(*make_epochs(0.9)), "tune")
    assert (phase["gain_per_epoch"], phase["converged"], phase["rate_fell"]) == (None, None, None)


def test_a_first_epoch_without_a_number_has_no_gain_after_it():
    assert describe_phase(make_training(*make_epochs(None, 0.9)), "tune")["gain_per_epoch"] is None


def rates(*values):
    return [{"head": 10 * value, "backbone": value} for value in values]


def test_the_rate_has_fallen_where_an_epoch_ends_at_half_of_its_highest():
    def fell(*values):
        epochs = make_epochs(*[0.9] * len(values), learning_rate=rates(*values))
        return describe_phase(make_training(*epochs), "tune")["rate_fell"]

    assert fell(0.4, 1.0, 0.51, 0.5) == 4  # warmup begins lower than half, and is no fall
    assert fell(0.4, 1.0, 0.51, 0.51) is None


def test_the_cuts_of_a_plateau_rule_are_counted():
    epochs = make_epochs(*[0.9] * 5, learning_rate=rates(0.5, 1, 1, 0.5, 0.25))
    assert describe_phase(make_training(*epochs), "tune")["plateaus"] == 2
    epochs = make_epochs(*[0.9] * 5, learning_rate=rates(0.5, 1, 1, 1, 1))
    assert describe_phase(make_training(*epochs), "tune")["plateaus"] == 0
    epochs = make_epochs(*[0.9] * 5, learning_rate=rates(0.5, 1, 1, 0.5, 0.25), phase="head")
    assert describe_phase(make_training(*epochs), "head")["plateaus"] is None  # a cosine


def change(*after):
    head = make_epochs(0.9, phase="head")
    tune = make_epochs(*[0.9] * len(after), val=[{"accuracy": 0.9, "log_loss": loss} for loss in after])
    return describe_phase(make_training(*head, *tune), "tune")["change"]


def test_a_loss_that_rises_with_a_phase_is_told_with_when_it_was_back():
    assert change(1.2, 1.1, 1.0) == {"before": 1.0, "after": 1.2, "rose": True, "back_in": 3}
    assert change(1.2, 1.1, 1.01) == {"before": 1.0, "after": 1.2, "rose": True, "back_in": None}
    assert change(1.0) == {"before": 1.0, "after": 1.0, "rose": False, "back_in": 1}
    assert change(None, 1.0) is None


def test_the_first_phase_changes_nothing():
    assert describe_phase(make_training(*make_epochs(0.9)), "tune")["change"] is None


def test_a_searched_head_is_called_so():
    epochs = make_epochs(0.9, phase="head", learning_rate=[{}])
    recipe = "phases: [{name: head, train: head, epochs: 20, learning_rate: search}]"
    phase = describe_phase(make_training(*epochs, recipe=recipe), "head")
    assert phase["searched"]
    assert (phase["rate_fell"], phase["plateaus"]) == (None, None)


def follow(*recalls, count=50):
    epochs = make_epochs(*recalls, val_per_class=[{"cat": value, "dog": 1.0} for value in recalls])
    rows = follow_classes(make_training(*epochs, val_counts={"cat": count, "dog": 50}))
    return next(row for row in rows if row["class"] == "cat")


def test_a_class_that_no_epoch_found_more_of_than_guessing_was_never_learned():
    assert follow(0.1, 0.5, 0.3)["state"] == "never learned"
    assert follow(0.1, 0.51, 0.5)["state"] == ""


def test_a_class_fell_where_its_last_recall_is_clearly_below_its_best():
    # 50 images, best of 2 epochs, so 2.241 errors: of 0.9 and 0.74, hypot(0.0460, 0.0610) * 2.241 = 0.1713.
    assert follow(0.9, 0.74)["state"] == ""
    # of 0.9 and 0.72: hypot(0.0460, 0.0623) * 2.241 = 0.1735
    row = follow(0.9, 0.72)
    assert row["state"] == "fell"
    assert (row["first"], row["best"], row["best_epoch"], row["last"]) == (0.9, 0.9, "epoch 1 of tune", 0.72)


def test_of_fewer_than_ten_images_nothing_is_claimed():
    assert follow(0.0, 0.0, count=9)["state"] == "few images"
    assert follow(0.0, 0.0, count=10)["state"] == "never learned"


def test_classes_are_in_the_order_of_the_kept_epoch_the_lowest_first():
    recalls = [{"cat": 0.9, "dog": 0.8}, {"cat": 0.1, "dog": 0.2}]
    rows = follow_classes(make_training(*make_epochs(0.9, 0.5, val_per_class=recalls)))
    assert [(row["class"], row["kept"]) for row in rows] == [("dog", 0.8), ("cat", 0.9)]


def test_a_class_without_val_images_has_no_course():
    recalls = [{"cat": None, "dog": 0.8}]
    rows = follow_classes(make_training(*make_epochs(0.9, val_per_class=recalls), val_counts={"cat": 0, "dog": 50}))
    assert rows[1] == {
        "class": "cat",
        "num_val": 0,
        "first": None,
        "best": None,
        "best_epoch": None,
        "kept": None,
        "last": None,
        "state": "few images",
    }


def test_of_several_classes_an_image_average_precision_is_followed_and_nothing_claimed():
    epochs = make_epochs(0.9, 0.8)
    for epoch, value in zip(epochs, (0.4, 0.1), strict=True):
        del epoch["val_per_class"]
        epoch["val_average_precision"] = {"cat": value, "dog": 0.9}
    (cat, _) = follow_classes(make_training(*epochs))
    assert (cat["best"], cat["last"], cat["state"]) == (0.4, 0.1, "")


def test_records_without_numbers_of_classes_have_no_course_of_them():
    (epoch,) = make_epochs(0.9)
    del epoch["val_per_class"]
    assert follow_classes(make_training(epoch)) == []


def test_the_kept_epoch_is_the_last_that_was_kept_and_the_best_where_none_was_yet():
    kept = make_training(*make_epochs(0.9, 0.8, 0.7, best=[True, True, False]))
    assert kept.kept()["epoch"] == 2
    assert make_training(*make_epochs(0.8, 0.9, 0.7)).kept()["epoch"] == 2
