import hashlib
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from fitwell.data.labels import Labelling
from fitwell.data.split import (
    SPLIT_COLUMNS,
    assign_folds,
    assign_splits,
    data_fingerprint,
    read_split,
    split_hash,
    write_split,
)
from fitwell.errors import DataError, UsageError


def make_images(labels, groups=None, split=None):
    images = pd.DataFrame({"path": [f"{number:05}.png" for number in range(len(labels))], "label": list(labels)})
    if groups is not None:
        images["group"] = list(groups)
    if split is not None:
        images["split"] = list(split)
    return images


def divide(images, val=0.15, test=0.15, seed=0):
    return assign_splits(images, val_fraction=val, test_fraction=test, seed=seed)


def fault(images, **options):
    with pytest.raises(DataError) as caught:
        divide(images, **options)
    return caught.value


def counts(images):
    return {str(part): int(number) for part, number in images["split"].value_counts().items()}


def grouped_set(seed):
    """A set as the field has them: groups of very different sizes, each leaning to one class."""
    rng = np.random.default_rng(seed)
    num_groups, num_classes = int(rng.integers(40, 120)), int(rng.integers(2, 6))
    labels, groups = [], []
    for group in range(num_groups):
        lean = rng.dirichlet(np.ones(num_classes))
        for _ in range(int(rng.geometric(1 / 12))):
            labels.append(f"c{rng.choice(num_classes, p=lean)}")
            groups.append(f"g{group}")
    return make_images(labels, groups)


def test_single_images_are_divided_to_the_nearest_image():
    images = divide(make_images(["a"] * 100 + ["b"] * 20))
    table = pd.crosstab(images["label"], images["split"])
    assert table.loc["a"].to_dict() == {"train": 70, "val": 15, "test": 15}
    assert table.loc["b"].to_dict() == {"train": 14, "val": 3, "test": 3}


def test_rounding_in_many_small_classes_does_not_add_up():
    # 40 classes of 10: 1.5 images each for val; half the classes give 1 and half give 2
    images = divide(make_images([f"c{number % 40:02}" for number in range(400)]))
    assert counts(images) == {"train": 280, "val": 60, "test": 60}
    assert set(pd.crosstab(images["label"], images["split"])["val"]) == {1, 2}


@pytest.mark.parametrize("fraction", [0.01, 0.15, 0.49])
def test_classes_of_three_images_have_one_in_each_part(fraction):
    images = divide(make_images("aaabbbccc"), val=fraction, test=fraction)
    assert counts(images) == {"train": 3, "val": 3, "test": 3}


def test_no_group_is_divided_and_shares_are_met_over_many_random_sets():
    sizes, prevalences = [], []
    for seed in range(40):
        images = divide(grouped_set(seed), seed=seed)
        assert (images.groupby("group")["split"].nunique() == 1).all()
        for part in ("val", "test"):
            chosen = images[images["split"] == part]
            sizes.append(abs(len(chosen) / len(images) - 0.15))
            whole = images["label"].value_counts(normalize=True)
            here = chosen["label"].value_counts(normalize=True)
            prevalences.append((whole - here).abs().max())
    assert np.mean(sizes) < 0.005
    assert max(sizes) < 0.01
    assert np.mean(prevalences) < 0.015
    assert max(prevalences) < 0.04


def test_large_groups_are_not_all_sent_to_train():
    groups = [f"g{group}" for group in range(40) for _ in range(30 if group < 10 else 5)]
    images = make_images(["ab"[number % 2] for number in range(len(groups))], groups)
    num_large = []
    for seed in range(20):
        sizes = divide(images, seed=seed).query("split == 'test'").groupby("group").size()
        num_large.append((sizes == 30).sum())
    assert np.mean(num_large) == pytest.approx(10 * 0.15, abs=0.4)


def test_many_groups_are_divided_too():
    rng = np.random.default_rng(0)
    images = divide(make_images(rng.choice(["a", "b"], 3000), rng.integers(0, 700, 3000).astype(str)))
    assert counts(images) == pytest.approx({"train": 2100, "val": 450, "test": 450}, abs=3)


def test_groups_of_one_image_each_are_single_images():
    assert counts(divide(make_images("ab" * 50, [f"g{number}" for number in range(100)]))) == {
        "train": 70,
        "val": 15,
        "test": 15,
    }


def grouped_or_not(images, is_grouped):
    return images if is_grouped else images.drop(columns="group")


@pytest.mark.parametrize("is_grouped", [True, False])
def test_the_order_of_rows_changes_nothing_and_is_kept(is_grouped):
    images = grouped_or_not(grouped_set(1), is_grouped)
    shuffled = images.sample(frac=1, random_state=3)
    expected = divide(images, seed=5).set_index("path")["split"]
    found = divide(shuffled, seed=5)
    assert found["path"].tolist() == shuffled["path"].tolist()
    assert found.index.tolist() == shuffled.index.tolist()
    assert found.set_index("path")["split"].sort_index().equals(expected)


@pytest.mark.parametrize("is_grouped", [True, False])
def test_the_seed_decides(is_grouped):
    images = grouped_or_not(grouped_set(2), is_grouped)
    before = images.copy()
    first, again, other = (divide(images, seed=seed)["split"].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert images.equals(before)


def test_a_whole_given_split_is_used_as_it_is():
    split = ["train", "val", "test", "train", "val", "test"]
    assert divide(make_images("aaabbb", split=split))["split"].tolist() == split


def test_val_is_carved_out_of_train_when_train_and_test_are_given():
    split = ["train"] * 80 + ["test"] * 20
    images = divide(make_images("ab" * 50, split=split))
    assert counts(images) == {"train": 68, "val": 12, "test": 20}  # 15 % of the 80 that are divided
    assert images["split"].tolist()[80:] == ["test"] * 20


def test_carving_keeps_groups_whole():
    images = grouped_set(4)
    images["split"] = np.where(images["group"].isin(["g1", "g2", "g3", "g4", "g5", "g6"]), "test", "train")
    divided = divide(images)
    assert (divided.groupby("group")["split"].nunique() == 1).all()
    assert set(divided.loc[divided["split"] == "test", "group"]) == {"g1", "g2", "g3", "g4", "g5", "g6"}
    pool = (images["split"] == "train").sum()
    assert (divided["split"] == "val").sum() / pool == pytest.approx(0.15, abs=0.02)


def test_val_and_test_are_drawn_when_train_alone_is_given():
    images = make_images("ab" * 50)
    assert divide(images.assign(split="train"))["split"].tolist() == divide(images)["split"].tolist()


def test_test_is_drawn_when_train_and_val_are_given():
    images = divide(make_images("ab" * 50, split=["train"] * 80 + ["val"] * 20))
    assert counts(images) == {"train": 68, "val": 20, "test": 12}


def test_a_given_split_is_taken_as_it_is_even_where_a_group_lies_in_two_parts():
    split = ["train", "train", "val", "val", "test", "test"]
    images = make_images("ababab", ["p1", "p2", "p2", "p1", "p1", "p3"], split)
    assert divide(images)["split"].tolist() == split


def test_fractions_of_parts_that_are_given_do_not_count():
    images = make_images("ab" * 50, split=["train"] * 80 + ["test"] * 20)
    divided = assign_splits(images, val_fraction=0.5, test_fraction=0.9, seed=0)
    assert counts(divided) == {"train": 40, "val": 40, "test": 20}


def test_a_given_test_may_lack_a_class_but_train_and_val_may_not():
    assert counts(divide(make_images("ababa", split=["train", "train", "val", "val", "test"])))["test"] == 1
    error = fault(make_images("ababb", split=["train", "train", "val", "test", "test"]))
    assert error.found == "no image of b in val."
    assert error.expected == "every class in val."
    assert error.fix.startswith("add images of these classes there")
    assert error.code == "DATA503"
    assert fault(make_images("abab", split=["train", "val", "val", "test"])).found == "no image of b in train."


def test_a_given_split_without_train_is_refused():
    error = fault(make_images("ab", split=["test", "val"]))
    assert error.found == "no image of the given split is for training."
    assert error.expected == "at least the part train."
    assert error.fix.startswith("call the part to learn from train")
    assert error.code == "DATA503"


def test_too_few_images_of_a_class_are_named():
    error = fault(make_images("aaaabbc"))
    assert error.found == "2 class(es) with too few images to divide: b (2), c (1)."
    assert error.expected == "at least 3 images of every class to draw a split from, one for each part."
    assert error.fix.startswith("add images of these classes")
    assert error.code == "DATA502"


def test_too_few_groups_of_a_class_are_named():
    error = fault(make_images("aaaabbbb", ["1", "2", "3", "4", "5", "5", "6", "6"]))
    assert error.found == "1 class(es) with too few groups to divide: b (2)."


def test_a_class_only_in_a_given_test_cannot_be_learned():
    error = fault(make_images("aaabbbc", split=["train"] * 6 + ["test"]))
    assert error.found == "1 class(es) with too few images to divide: c (0)."


def test_an_impossible_grouping_is_refused():
    # Every class is in three groups, but three groups hold a with b, and c needs one of each too: 4 groups, and
    # the part with two groups leaves only two for the others.
    labels = list("abacbcabcaabbcc")
    groups = ["1", "1", "2", "2", "3", "3"] + ["4"] * 9
    error = fault(make_images(labels, groups))
    assert error.found == "no way, in 10 attempts, to divide 4 groups."
    assert error.expected == "every class in every part, and every group whole."
    assert error.fix.startswith("use smaller groups")
    assert error.code == "DATA502"


@pytest.mark.parametrize(("val", "test"), [(0, 0.2), (0.2, 0), (0.5, 0.5), (float("nan"), 0.1), (0.1, 1.2)])
def test_fractions_that_leave_nothing_are_refused(val, test):
    with pytest.raises(UsageError) as caught:
        divide(make_images("ab" * 10), val=val, test=test)
    assert caught.value.found == f"val_fraction {val:g} and test_fraction {test:g}."
    assert caught.value.expected == "two numbers above 0 that leave something to train on."
    assert caught.value.fix == "use for example 0.15 and 0.15."


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 8)), min_size=1, max_size=60),
    st.integers(0, 2**32 - 1),
)
def test_every_drawn_split_keeps_its_promises(rows, seed):
    images = make_images([label for label, _ in rows], [str(group) for _, group in rows])
    try:
        divided = divide(images, seed=seed)
    except DataError as error:
        reason = error.found
    else:
        reason = None
        assert (divided.groupby("group")["split"].nunique() == 1).all()
        assert (pd.crosstab(divided["label"], divided["split"])[["train", "val", "test"]] > 0).all().all()
    assert reason is None or "too few" in reason or "no way" in reason


def test_single_images_are_dealt_to_folds_to_the_nearest_image():
    images = make_images("a" * 13 + "b" * 9 + "c" * 4)
    folds = assign_folds(images, num_folds=4, seed=0)
    table = pd.crosstab(images["label"], folds)
    assert table.columns.tolist() == [0, 1, 2, 3]
    assert (table.max(axis=1) - table.min(axis=1)).tolist() == [1, 1, 0]
    assert sorted(table.sum()) == [6, 6, 7, 7]


def test_no_group_crosses_folds_and_shares_are_at_least_as_even_as_those_of_scikit_learn():
    deviations, references = [], []
    for seed in range(10):
        images = grouped_set(seed)
        folds = assign_folds(images, num_folds=5, seed=seed)
        assert (pd.Series(folds).groupby(images["group"]).nunique() == 1).all()
        assert (pd.crosstab(images["label"], folds) > 0).all().all()
        deviations.append(prevalence_deviation(images["label"], folds))
        reference = np.zeros(len(images), dtype=int)
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        for fold, (_, test) in enumerate(splitter.split(images, images["label"], images["group"])):
            reference[test] = fold
        references.append(prevalence_deviation(images["label"], reference))
    assert np.mean(deviations) < np.mean(references)  # benchmarks/split_prevalence.py has the interval
    assert np.mean(deviations) < 0.01


def prevalence_deviation(labels, folds):
    """Mean over folds and classes of |share in the fold - share in all|."""
    whole = labels.value_counts(normalize=True)
    return pd.crosstab(labels, folds, normalize="columns").sub(whole, axis=0).abs().to_numpy().mean()


@pytest.mark.parametrize("is_grouped", [True, False])
def test_folds_depend_on_seed_and_images_and_not_on_the_order_of_rows_or_a_given_split(is_grouped):
    images = grouped_or_not(grouped_set(1), is_grouped)
    folds = assign_folds(images, num_folds=5, seed=3)
    order = np.random.default_rng(0).permutation(len(images))
    assert np.array_equal(assign_folds(images.iloc[order], num_folds=5, seed=3), folds[order])
    assert np.array_equal(assign_folds(images.assign(split="test"), num_folds=5, seed=3), folds)
    assert not np.array_equal(assign_folds(images, num_folds=5, seed=4), folds)


def test_folds_that_cannot_hold_every_class_are_refused():
    with pytest.raises(DataError) as caught:
        assign_folds(make_images("aaaaabbbb"), num_folds=5, seed=0)
    assert caught.value.found == "1 class(es) with too few images to divide: b (4)."
    assert caught.value.expected == "at least 5 images of every class to draw a split from, one for each part."
    assert caught.value.code == "DATA502"
    images = make_images(list("abacbcabcaabbcc"), ["1", "1", "2", "2", "3", "3"] + ["4"] * 9)
    with pytest.raises(DataError, match="no way, in 10 attempts, to divide 4 groups") as caught:
        assign_folds(images, num_folds=3, seed=0)
    assert caught.value.code == "DATA502"


def test_fewer_than_three_folds_are_refused():
    with pytest.raises(UsageError) as caught:
        assign_folds(make_images("ab" * 10), num_folds=2, seed=0)
    assert caught.value.found == "2 folds."
    assert caught.value.expected == "at least 3: one to report on, one to choose by, and one to learn from."
    assert caught.value.fix == "use for example 5."


def test_many_classes_of_single_images_take_no_table_of_images_by_classes():
    # 30,000 images x 3,000 classes would be 700 MB of counts
    images = make_images(np.repeat(np.arange(3000), 10).astype(str))
    tracemalloc.start()
    divided = divide(images)
    folds = assign_folds(images, num_folds=5, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert counts(divided) == {"train": 21_000, "val": 4500, "test": 4500}
    assert np.bincount(folds).tolist() == [6000] * 5
    assert peak < 50e6


def test_the_hash_follows_content_and_not_order():
    images = make_images("ab", ["x", "y"], ["train", "test"]).assign(sha256=["0", "1"])
    assert split_hash(images) == split_hash(images.iloc[::-1])
    parts = ["00000.png", "a", "x", "train", "00001.png", "b", "y", "test"]
    expected = hashlib.sha256(b"".join(len(p).to_bytes(8, "little") + p.encode() for p in parts)).hexdigest()
    assert split_hash(images) == expected
    for column in ("path", "label", "group", "split"):
        assert split_hash(images.assign(**{column: ["changed", "b"]})) != expected
    assert split_hash(images.assign(sha256="2")) == expected


def test_the_fingerprint_follows_the_images_and_not_the_split():
    images = make_images("ab", split=["train", "test"]).assign(sha256=["0", "1"])
    expected = data_fingerprint(images)
    assert data_fingerprint(images.iloc[::-1].assign(split="val")) == expected
    for column in ("path", "label", "sha256"):
        assert data_fingerprint(images.assign(**{column: ["changed", "b"]})) != expected


def test_split_csv_reads_as_it_was_written(tmp_path):
    images = pd.DataFrame(
        {
            "path": ["a,1.png", 'q"2.png', "new\nline.png", "ret\rurn.png", "\u00fc.png"],
            "label": ["NA", "007", "1.0", "no", "=SUM(A1)"],
            "group": ["1", "2", "3", "4", "5"],
            "split": ["train", "val", "test", "train", "train"],
            "sha256": ["0" * 64] * 5,
            "width": [1, 2, 3, 4, 5],
            "height": [1, 2, 3, 4, 5],
            "weight": [0.1, 1.0, 1e-9, 1 / 3, 0.0],
            "site": ["", "x", "nan", "null", " "],
        }
    )
    write_split(tmp_path / "split.csv", images)
    read = read_split(tmp_path / "split.csv")
    assert list(read.columns) == [*SPLIT_COLUMNS, "width", "height", "weight", "site"]
    for column in ("path", "label", "group", "split", "sha256", "weight", "site"):
        assert read[column].tolist() == images[column].tolist()
    assert split_hash(read) == split_hash(images)
    assert read["id"].is_unique
    write_split(tmp_path / "again.csv", read)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "split.csv").read_bytes()


def test_split_csv_is_plain_where_nothing_needs_quotes(tmp_path):
    write_split(tmp_path / "split.csv", make_images("a", split=["train"]).assign(sha256="ff"))
    identity = hashlib.sha256((9).to_bytes(8, "little") + b"00000.png").hexdigest()[:16]
    assert (
        tmp_path / "split.csv"
    ).read_text() == f"id,path,label,group,split,sha256\n{identity},00000.png,a,,train,ff\n"
    assert "group" not in read_split(tmp_path / "split.csv")


def test_a_missing_or_foreign_split_file_is_refused(tmp_path):
    with pytest.raises(DataError) as caught:
        read_split(tmp_path / "split.csv")
    assert caught.value.found.endswith("split.csv does not exist.")
    assert caught.value.expected == "the split of a run."
    assert caught.value.fix == "give the path of a run, or train again."
    (tmp_path / "split.csv").write_text("path,label\na,b\n")
    with pytest.raises(DataError) as caught:
        read_split(tmp_path / "split.csv")
    assert caught.value.found.endswith("has the columns path, label.")
    assert caught.value.expected == "the columns id, path, label, group, split, sha256."
    assert caught.value.fix == "take the split.csv of a run as it was written."


SEVERAL = Labelling(several=True)


def label_sets(num_images, seed=0, groups=None):
    """Labels with any of three classes, of which c is rare, and none."""
    shown = np.random.default_rng(seed).random((num_images, 3)) < (0.5, 0.3, 0.05)
    return make_images(["|".join(np.array(list("abc"))[row]) for row in shown], groups)


@pytest.mark.parametrize("grouped", [False, True])
def test_images_of_several_classes_are_divided_by_each_of_them(grouped):
    images = label_sets(600, groups=[f"g{number // 3}" for number in range(600)] if grouped else None)
    divided = assign_splits(images, val_fraction=0.15, test_fraction=0.15, seed=0, labelling=SEVERAL)
    assert set(divided["split"]) == {"train", "val", "test"}
    rows = SEVERAL.by_class(divided)
    shares = pd.crosstab(rows["label"], rows["split"]).div(divided["split"].value_counts())
    assert shares.sub(shares.mean(axis=1), axis=0).abs().max().max() < 0.02
    if grouped:
        assert (divided.groupby("group")["split"].nunique() == 1).all()


def test_folds_of_several_classes_have_each_of_them():
    folds = assign_folds(label_sets(300), num_folds=5, seed=0, labelling=SEVERAL)
    assert np.bincount(folds) == pytest.approx([60] * 5, abs=2)
    rare = label_sets(300)["label"].str.contains("c").to_numpy()
    assert np.bincount(folds[rare], minlength=5).min() >= 1


def test_a_class_that_too_few_images_show_is_refused():
    images = make_images(["a|b", "a", "b", "a", "b", "", "a", "b|c", "c|a"])
    with pytest.raises(DataError, match=r"c \(2\)") as caught:
        assign_splits(images, val_fraction=0.2, test_fraction=0.2, seed=0, labelling=SEVERAL)
    assert caught.value.code == "DATA502"


def test_a_class_that_the_given_val_does_not_show_is_refused():
    images = make_images(["a|b", "a", "b", "a", ""], split=["train", "train", "train", "val", "test"])
    with pytest.raises(DataError, match="no image of b in val"):
        assign_splits(images, val_fraction=0.2, test_fraction=0.2, seed=0, labelling=SEVERAL)


def test_the_label_of_an_image_that_shows_nothing_survives_the_split_file(tmp_path):
    images = make_images(["a|b", ""], split=["train", "val"]).assign(sha256="0" * 64)
    write_split(tmp_path / "split.csv", images)
    assert read_split(tmp_path / "split.csv")["label"].tolist() == ["a|b", ""]
