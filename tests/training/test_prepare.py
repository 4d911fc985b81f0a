import json
import shutil

import pytest

from fitwell.data.index import index_dataset
from fitwell.data.split import read_split
from fitwell.errors import DataError, RecipeError, UsageError
from fitwell.files import read_json_lines
from fitwell.recipe.judge import Judge
from fitwell.recipe.phase import Last, Phase
from fitwell.recipe.read import parse_recipe
from fitwell.recipe.schema import Images, Model, Target
from fitwell.training.prepare import create_run, prepare_run
from pictures import tiny_recipe, write_pictures


@pytest.fixture
def two_colors(tmp_path):
    return write_pictures(tmp_path / "two colors", classes=("red", "blue"))


def test_a_prepared_run_has_its_split_recipe_and_record_on_disk(pictures, tmp_path):
    prepared = prepare_run(index_dataset(pictures), tiny_recipe())
    assert {split: sum(counts.values()) for split, counts in prepared.counts().items()} == {
        "train": 26,
        "val": 5,
        "test": 5,
    }
    run = create_run(prepared, tmp_path, "My Pictures!")
    assert run.id.endswith("-my-pictures")
    record = json.loads(run.run_json.read_text())
    assert record["state"] == "created"
    assert record["data"]["classes"] == ["blue", "green", "red"]
    assert record["data"]["class_counts"] == {"blue": 12, "green": 12, "red": 12}
    assert record["preprocessing"]["size"] == 32
    assert record["split"]["counts"] == prepared.counts()
    assert record["versions"]["torch"]
    assert record["memory"] == prepared.memory.record()
    split = read_split(run.split)
    assert len(split) == 36
    assert split["sha256"].str.fullmatch("[0-9a-f]{64}").all()
    resolved = parse_recipe(run.recipe.read_text(), "recipe.yaml")
    assert resolved == prepared.recipe
    assert resolved.balance.class_weights == "none"
    assert {entry.key for entry in resolved.resolved} == {
        "model.own_statistics",
        "balance.class_weights",
        "select.metric",
        "select.keep",
    }
    assert resolved.select.keep == "best"


def test_preparing_twice_draws_the_same_split(pictures):
    first, second = (prepare_run(index_dataset(pictures), tiny_recipe(seed=5)) for _ in range(2))
    assert first.images.equals(second.images)
    other = prepare_run(index_dataset(pictures), tiny_recipe(seed=6))
    assert not first.images["split"].equals(other.images["split"])


def test_a_corrupt_image_stops_everything_before_training(tmp_path):
    folder = write_pictures(tmp_path / "pictures")
    (folder / "red" / "03.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"(?s)red/03\.png.*Fix: "):
        prepare_run(index_dataset(folder), tiny_recipe())


def test_a_corrupt_image_is_left_out_when_errors_are_only_warned_of(tmp_path):
    folder = write_pictures(tmp_path / "pictures")
    (folder / "red" / "03.png").write_bytes(b"not a picture")
    prepared = prepare_run(index_dataset(folder), tiny_recipe(), stop_at_errors=False)
    assert len(prepared.images) == 35
    assert "red/03.png" not in set(prepared.images["path"])
    run = create_run(prepared, tmp_path, "left-out")
    assert run.read()["data"]["class_counts"] == {"blue": 12, "green": 12, "red": 11}
    recorded = {record["code"]: record for record in read_json_lines(run.findings)}
    assert recorded["DATA102"]["severity"] == "error"
    assert recorded["DATA102"]["cases"][0]["name"] == "red/03.png"


def test_a_class_whose_every_image_is_unusable_is_no_class_any_more(tmp_path):
    folder = write_pictures(tmp_path / "pictures")
    for path in (folder / "green").iterdir():
        path.write_bytes(b"")
    prepared = prepare_run(index_dataset(folder), tiny_recipe(), stop_at_errors=False)
    assert prepared.classes == ("blue", "red")
    assert set(prepared.counts()["train"]) == {"blue", "red"}


def test_a_leak_in_the_given_split_stops_training_unless_it_is_only_warned_of(pictures, tmp_path):
    rows = index_dataset(pictures).images.assign(split=["train", "val", "test"] * 12)
    rows["group"] = [f"g{number // 2}" for number in range(36)]
    table = tmp_path / "labels.csv"
    rows.to_csv(table, index=False)
    dataset = index_dataset(table, pictures)
    with pytest.raises(DataError, match="DATA401") as caught:
        prepare_run(dataset, tiny_recipe())
    assert "--on-data-error=warn" in caught.value.fix
    prepared = prepare_run(dataset, tiny_recipe(), stop_at_errors=False)
    assert prepared.images["split"].tolist() == ["train", "val", "test"] * 12
    assert "DATA401" in {finding.code for finding in prepared.findings}


@pytest.mark.parametrize(("num_groups", "keep"), [(36, "best"), (12, "last")])
def test_where_val_has_few_groups_the_last_epoch_is_kept(pictures, tmp_path, num_groups, keep):
    paths = sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png"))
    rows = [f"{path},{path.split('/')[0]},group {place % num_groups}" for place, path in enumerate(paths)]
    table = pictures / "labels.csv"
    table.write_text("\n".join(["path,label,group", *rows]) + "\n")
    falling = Phase(name="head", train="head", epochs=3, learning_rate=1e-2)
    prepared = prepare_run(index_dataset(table), tiny_recipe(phases=(falling,)))
    assert prepared.recipe.select.keep == keep


def test_copies_never_lie_on_two_sides(tmp_path):
    folder = write_pictures(tmp_path / "pictures")
    for number in range(6):
        shutil.copy(folder / "red" / f"{number:02}.png", folder / "red" / f"copy{number}.png")
    images = prepare_run(index_dataset(folder), tiny_recipe()).images.set_index("path")
    for number in range(6):
        assert images.loc[f"red/{number:02}.png", "split"] == images.loc[f"red/copy{number}.png", "split"]


def test_a_freeze_level_that_does_not_fit_is_found_before_training(pictures):
    phase = Phase(name="deep", train=Last(last=9999), epochs=1, learning_rate=1e-3)
    with pytest.raises(RecipeError, match="last 9999 layers"):
        prepare_run(index_dataset(pictures), tiny_recipe(phases=(phase,)))


def test_an_unknown_backbone_is_found_before_training(pictures):
    with pytest.raises(UsageError, match="resnet10x"):
        prepare_run(index_dataset(pictures), tiny_recipe(model=Model(backbone="resnet10x", weights="none")))


def test_a_picture_size_that_the_backbone_does_not_take_is_found_before_training(pictures):
    vit = tiny_recipe(model=Model(backbone="vit_tiny_patch16_224", weights="none"), images=Images(size=128))
    with pytest.raises(RecipeError, match=r"(?s)images.size is 128.*fails on pictures of that size"):
        prepare_run(index_dataset(pictures), vit)


def test_training_pictures_are_at_most_as_large_as_those_of_evaluation(pictures):
    phases = (Phase(name="grow", train="all", epochs=1, learning_rate=1e-3, image_size=64),)
    with pytest.raises(
        RecipeError, match=r"(?s)phases.grow.image_size is 64, and images.size is 32.*raise images.size"
    ):
        prepare_run(index_dataset(pictures), tiny_recipe(phases=phases))


def test_classes_go_in_the_order_that_the_recipe_gives_them(pictures):
    prepared = prepare_run(index_dataset(pictures), tiny_recipe(target=Target(order=("red", "blue", "green"))))
    assert prepared.classes == ("red", "blue", "green")
    assert list(prepared.class_weights) == ["red", "blue", "green"]
    assert prepared.recipe.select.metric == "quadratic_kappa"


@pytest.mark.parametrize("order", [("red", "blue"), ("red", "blue", "green", "pink")])
def test_an_order_of_other_classes_is_refused(pictures, order):
    with pytest.raises(RecipeError, match=r"(?s)target.order names red, blue.*the classes blue, green, red"):
        prepare_run(index_dataset(pictures), tiny_recipe(target=Target(order=order)))


def test_the_class_that_is_looked_for_comes_last(two_colors):
    prepared = prepare_run(index_dataset(two_colors), tiny_recipe(judge=Judge(positive="blue")))
    assert prepared.classes == ("red", "blue")
    assert prepare_run(index_dataset(two_colors), tiny_recipe()).classes == ("blue", "red")


def test_a_class_to_look_for_that_is_none_of_two_is_refused(pictures, two_colors):
    with pytest.raises(
        RecipeError, match=r"(?s)judge.positive is blue; the classes are blue, green, red.*of two classes"
    ):
        prepare_run(index_dataset(pictures), tiny_recipe(judge=Judge(positive="blue")))
    with pytest.raises(RecipeError, match=r"(?s)judge.positive is pink; the classes are blue, red"):
        prepare_run(index_dataset(two_colors), tiny_recipe(judge=Judge(positive="pink")))
    ordered = tiny_recipe(judge=Judge(positive="blue"), target=Target(order=("blue", "red")))
    with pytest.raises(RecipeError, match=r"(?s)judge.positive is blue.*the last one where target.order orders them"):
        prepare_run(index_dataset(two_colors), ordered)


@pytest.mark.parametrize("key", ["batch_size", "micro_batch"])
def test_single_images_are_refused_where_batch_norm_learns(pictures, key):
    execution = tiny_recipe().execution.model_copy(update={key: 1})
    with pytest.raises(RecipeError, match=rf"(?s)execution.{key} is 1, and phase fine-tune trains BatchNorm.*to fixed"):
        prepare_run(index_dataset(pictures), tiny_recipe(execution=execution))
    fixed = tuple(phase.model_copy(update={"batch_norm": "fixed"}) for phase in tiny_recipe().phases)
    assert prepare_run(index_dataset(pictures), tiny_recipe(execution=execution, phases=fixed)).recipe.phases == fixed


def test_own_statistics_without_batch_norm_are_refused_before_a_run_is_written(pictures):
    vit = Model(backbone="test_vit", weights="none", own_statistics=0.5)
    with pytest.raises(RecipeError, match="own_statistics is above 0, and the backbone has no BatchNorm"):
        prepare_run(index_dataset(pictures), tiny_recipe(model=vit, images=Images(size="auto")))
