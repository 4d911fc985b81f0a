import numpy as np
import pandas as pd
import pytest

from fitwell.data.check.order import LONGEST_BLOCK, NUM_PERMUTATIONS, find_order_leakage, group_by_order
from fitwell.data.demo import elpv_dataset
from fitwell.errors import UsageError


def make_set(block_length, *, num_images=600, num_classes=2, seed=0, shared=0.25):
    """Noise looks and shuffled labels; every block of the order shares a pattern, `shared` of the variance."""
    rng = np.random.default_rng(seed)
    blocks = np.arange(num_images) // block_length
    patterns = rng.normal(size=(blocks.max() + 1, 16, 16))
    labels = rng.integers(num_classes, size=num_images)
    looks = np.sqrt(shared) * patterns[blocks] + np.sqrt(1 - shared) * rng.normal(size=(num_images, 16, 16))
    looks += rng.normal(size=(num_classes, 16, 16))[labels]  # what makes the classes, and is no leak
    return np.clip(128 + 25 * looks, 0, 255).astype(np.uint8), labels.astype(str)


@pytest.mark.parametrize("block_length", [2, 5, 20, 60])
def test_blocks_of_the_order_are_found_and_their_length_measured(block_length):
    looks, labels = make_set(block_length)
    finding = find_order_leakage(looks, labels, None)
    assert finding.code == "DATA404"
    assert finding.cases == ()
    assert finding.evidence["p"] == 1 / (NUM_PERMUTATIONS + 1)
    assert finding.evidence["n"] == 600
    assert finding.evidence["num_permutations"] == NUM_PERMUTATIONS
    assert finding.evidence["block_length"] == pytest.approx(block_length, rel=0.3)


def test_the_effect_is_the_correlation_of_neighbours_above_chance():
    # a quarter of the variance is shared by 29 of 30 neighbours of a class, and by 1 in 10 at random
    looks, labels = make_set(60)
    finding = find_order_leakage(looks, labels, None)
    assert finding.evidence["effect"] == pytest.approx(0.25 * (29 / 30 - 1 / 10), abs=0.01)
    assert finding.message == (
        f"An image is more like the next of its class than like the others: {finding.evidence['effect']:.2f} more "
        f"correlation than in random order (p = 0.0002, n = 600), and the likeness lasts for about "
        f"{finding.evidence['block_length']} images."
    )


def test_likeness_without_end_is_said_to_last_longer_than_is_looked_for():
    looks, labels = make_set(1000, num_images=2000)
    finding = find_order_leakage(looks, labels, None)
    assert finding.evidence["block_length"] == LONGEST_BLOCK
    assert finding.message.endswith("lasts for about 256 images or more.")


def test_shuffled_images_are_passed_over():
    for seed in range(20):
        looks, labels = make_set(10, num_images=200, seed=seed)
        order = np.random.default_rng(seed).permutation(200)
        assert find_order_leakage(looks[order], labels[order], None, seed=seed) is None


def test_classes_that_look_different_are_no_leak_when_the_list_is_sorted_by_class():
    looks, labels = make_set(1)
    order = np.argsort(labels, kind="stable")
    assert find_order_leakage(looks[order], labels[order], None) is None


def test_a_likeness_too_weak_to_matter_is_passed_over():
    looks, labels = make_set(60, num_images=3000, shared=0.03)
    assert find_order_leakage(looks, labels, None) is None


def test_folders_that_look_different_are_no_leak_unless_they_are_small():
    looks, labels = make_set(60)
    folders = np.array([f"site{number // 60}" for number in range(600)])
    assert find_order_leakage(looks, labels, folders) is None
    looks, labels = make_set(6)
    bursts = np.array([f"burst{number // 6}" for number in range(600)])
    assert find_order_leakage(looks, labels, bursts).evidence["block_length"] == pytest.approx(6, rel=0.3)


def test_neighbours_are_sought_within_folders_even_where_rows_alternate_between_them():
    looks, labels = make_set(20)
    shuffled = np.random.default_rng(1).permutation(600)
    order = np.stack([np.arange(300), shuffled[:300]]).T.ravel()  # of two cameras; the second shows nothing
    folders = np.array(["a", "b"] * 300)
    finding = find_order_leakage(looks[order], labels[order], folders)
    assert finding.evidence["block_length"] == pytest.approx(20, rel=0.5)


def test_large_sets_are_judged_by_runs_of_their_order():
    looks, labels = make_set(20, num_images=10_000)
    finding = find_order_leakage(looks, labels, None)
    assert finding.evidence["n"] == 4096
    assert finding.evidence["block_length"] == pytest.approx(20, rel=0.3)


@pytest.mark.parametrize("value", [0, 255])
def test_blank_images_are_like_nothing(value):
    blank = np.full((200, 16, 16), value, dtype=np.uint8)
    labels = np.array(["a", "b"] * 100)
    assert find_order_leakage(blank, labels, None) is None
    looks, labels = make_set(1)
    looks[100:200] = value
    assert find_order_leakage(looks, labels, None) is None


@pytest.mark.parametrize("num_images", [0, 1, 2, 25])
def test_a_few_images_say_nothing(num_images):
    looks, labels = make_set(5)
    assert find_order_leakage(looks[:num_images], labels[:num_images], None) is None


def test_labels_that_come_in_stretches_are_told_with_what_chance_would_do():
    looks, _ = make_set(20)
    labels = np.array(["a", "a", "b", "a", "b", "b"] * 100)
    evidence = find_order_leakage(looks, labels, None).evidence
    assert evidence["label_agreement"] == pytest.approx(200 / 599, abs=1e-4)  # aa and bb once in six
    assert evidence["label_agreement_at_random"] == pytest.approx(2 * 300 * 299 / (600 * 599), abs=1e-4)
    assert "label_agreement" not in find_order_leakage(looks, np.sort(labels), None).evidence


def test_the_seed_decides_the_shuffles_and_nothing_else():
    looks, labels = make_set(20)
    first, again, other = (find_order_leakage(looks, labels, None, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.evidence["effect"] != other.evidence["effect"]
    assert first.evidence["block_length"] == other.evidence["block_length"]


def test_solar_cells_named_module_by_module_are_found():
    # modules have 60 or 72 cells; those next to each other are alike too, which makes blocks look longer
    from PIL import Image

    cells = elpv_dataset()
    looks = []
    for path in cells.images["path"]:
        with Image.open(cells.root / path) as image:
            looks.append(np.asarray(image.resize((16, 16), Image.Resampling.BOX)))
    labels = cells.images["label"].to_numpy(str)
    evidence = find_order_leakage(np.stack(looks), labels, None).evidence
    assert evidence["p"] < 0.001
    assert 40 <= evidence["block_length"] <= 120
    assert evidence["label_agreement"] == pytest.approx(0.797, abs=0.001)  # published with the set's analysis
    assert evidence["label_agreement_at_random"] == pytest.approx(0.570, abs=0.001)


def test_blocks_begin_anew_in_each_folder_and_leave_no_rest():
    images = pd.DataFrame({"path": ["x/1", "y/1", "x/2", "x/3", "y/2", "x/4", "x/5", "z"]}, index=range(10, 18))
    groups = group_by_order(images, 2)
    assert groups.tolist() == ["x:0000", "y:0000", "x:0000", "x:0000", "y:0000", "x:0001", "x:0001", ".:0000"]
    assert groups.name == "group"
    assert groups.index.tolist() == list(range(10, 18))


def test_equal_blocks_of_the_order_are_the_modules_of_the_solar_cells():
    cells = pd.DataFrame({"path": [f"cell{number:04}.png" for number in range(300)]})
    sizes = group_by_order(cells, 59).value_counts()
    assert sizes.tolist() == [60] * 5  # not 59 five times and a rest of 5


def test_a_block_of_no_images_is_refused():
    with pytest.raises(UsageError) as caught:
        group_by_order(pd.DataFrame({"path": ["a"]}), 0)
    assert caught.value.found == "blocks of 0 images."
    assert caught.value.expected == "at least 1."
    assert caught.value.fix == "write for example order:60."
