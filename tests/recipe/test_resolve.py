"""What `auto` becomes, and why."""

from dataclasses import replace

import pytest

from fitwell.errors import RecipeError
from fitwell.recipe.phase import Phase, Stages
from fitwell.recipe.resolve import BackboneFacts, DataFacts, choose_weights, is_augmented, most_epochs, resolve_recipe
from fitwell.recipe.schema import Augment, Balance, Color, Erase, Execution, Images, Model, Recipe, Select
from fitwell.recipe.target import Target

PLAIN = Augment(rotate_degrees=0, flip="none", crop_area=(1.0, 1.0), color=Color())


def facts(counts: dict[str, int]) -> DataFacts:
    return DataFacts(num_train=sum(counts.values()), class_counts=counts)


def resolve(recipe: Recipe, data: DataFacts) -> Recipe:
    return resolve_recipe(recipe, data, BackboneFacts(lambda name: 224, lambda name: 5, lambda name: 53))


def reason(recipe: Recipe, key: str) -> str:
    return next(each.reason for each in recipe.resolved if each.key == key)


def test_an_unbalanced_two_class_set_of_small_pictures():
    recipe = resolve(Recipe(), facts({"functional": 1200, "defective": 600}))
    assert (recipe.model.backbone, recipe.model.weights) == ("tf_efficientnet_lite0", "wheel")
    assert (recipe.images.size, recipe.images.crop_fraction) == (224, 1.0)
    assert (recipe.balance.class_weights, recipe.select.metric) == ("balanced", "auc")
    assert (recipe.execution.batch_size, recipe.augment.views) == (32, 2)
    assert recipe.model.own_statistics == 0.5
    assert [each.key for each in recipe.resolved] == [
        "model.backbone",
        "model.weights",
        "model.own_statistics",
        "images.size",
        "images.crop_fraction",
        "phases.fine-tune.epochs",
        "augment.views",
        "balance.class_weights",
        "select.metric",
        "select.keep",
        "execution.batch_size",
    ]
    assert {each.asked for each in recipe.resolved} == {"auto"}


def test_every_reason_is_a_sentence_that_quotes_the_numbers():
    recipe = resolve(Recipe(), facts({"functional": 1200, "defective": 600}))
    for each in recipe.resolved:
        assert each.reason[0].isupper() or each.reason[0].isdigit()
        assert each.reason.endswith(".")
    assert reason(recipe, "balance.class_weights") == (
        "Because the largest class (functional, 1,200 training images) has 2.0 times as many as the smallest "
        "(defective, 600), from 1.5 on each class weighs the same."
    )
    assert "224 x 224" in reason(recipe, "images.size")
    assert "1,800 training images times 2" in reason(recipe, "augment.views")
    assert "57 steps per epoch" in reason(recipe, "execution.batch_size")


@pytest.mark.parametrize(
    ("num_val_groups", "keep", "quoted"),
    [
        (None, "best", "No two val images share a group"),
        (7, "last", "Val has 7 groups, fewer than 30"),
        (29, "last", "Val has 29 groups, fewer than 30"),
        (30, "best", "Val has 30 groups; from 30 on"),
    ],
)
def test_few_groups_in_val_choose_no_epoch(num_val_groups: int | None, keep: str, quoted: str):
    recipe = resolve(Recipe(), replace(facts({"a": 900, "b": 900}), num_val_groups=num_val_groups))
    assert recipe.select.keep == keep
    assert quoted in reason(recipe, "select.keep")


@pytest.mark.parametrize(
    ("ending", "quoted"),
    [
        ({"patience": 3}, "stops by the val number"),
        ({"schedule": "plateau"}, "with schedule plateau"),
        ({"schedule": "constant"}, "with schedule constant"),
        ({"schedule": "warm_restarts"}, "with schedule warm_restarts"),
    ],
)
def test_where_the_last_epoch_is_no_end_of_a_schedule_the_best_is_kept_however_few_groups(ending: dict, quoted: str):
    recipe = Recipe(phases=(Phase(name="all", train="all", epochs=9, learning_rate=1e-3, **ending),))
    resolved = resolve(recipe, replace(facts({"a": 900, "b": 900}), num_val_groups=7))
    assert resolved.select.keep == "best"
    assert quoted in reason(resolved, "select.keep")


def test_the_epoch_to_keep_is_not_decided_where_it_was_asked_for():
    recipe = Recipe(select=Select(metric="auc", keep="best"))
    assert resolve(recipe, replace(facts({"a": 900, "b": 900}), num_val_groups=7)).select.keep == "best"


def test_what_was_asked_for_is_untouched_and_not_listed():
    asked = Recipe(
        model=Model(backbone="resnet18", weights="none", own_statistics=0.25),
        images=Images(size=96, crop_fraction=0.5),
        augment=Augment(views=3),
        balance=Balance(class_weights="none"),
        select=Select(metric="log_loss", keep="best"),
        phases=(Phase(name="all", train="all", epochs=9, learning_rate=1e-3),),
        execution=Execution(batch_size=5),
    )

    def refuse(name: str) -> int:
        raise LookupError(name)

    assert resolve_recipe(asked, facts({"a": 90, "b": 10}), BackboneFacts(refuse, refuse, refuse)) == asked


def test_resolving_twice_changes_nothing_more():
    once = resolve(Recipe(), facts({"a": 50, "b": 50}))
    assert len(once.resolved) == 11
    assert resolve(once, facts({"a": 9, "b": 90})) == once


def test_what_the_machine_decides_is_left_to_the_machine():
    execution = resolve(Recipe(), facts({"a": 50, "b": 50})).execution
    assert (execution.device, execution.precision, execution.memory_format, execution.workers) == ("auto",) * 4


def test_another_backbone_takes_its_weights_from_the_hub():
    recipe = resolve(Recipe(model=Model(backbone="resnet18")), facts({"a": 50, "b": 50}))
    assert recipe.model.weights == "hub"
    assert "resnet18" in reason(recipe, "model.weights")


@pytest.mark.parametrize(("smallest", "weights"), [(100, "balanced"), (101, "none"), (0, "balanced")])
def test_class_weights_begin_at_one_and_a_half(smallest: int, weights: str):
    assert resolve(Recipe(), facts({"a": 150, "b": smallest})).balance.class_weights == weights


@pytest.mark.parametrize(
    ("counts", "metric"),
    [
        ({"a": 100, "b": 10}, "auc"),
        ({"a": 100, "b": 100, "c": 10}, "balanced_accuracy"),
        ({"a": 100, "b": 100, "c": 90}, "accuracy"),
    ],
)
def test_the_metric_follows_the_classes(counts: dict[str, int], metric: str):
    assert resolve(Recipe(), facts(counts)).select.metric == metric


@pytest.mark.parametrize(("num_train", "size"), [(6, 8), (127, 8), (128, 16), (255, 16), (256, 32), (10_000, 32)])
def test_the_batch_leaves_eight_steps_per_epoch(num_train: int, size: int):
    assert resolve(Recipe(), facts({"a": num_train, "b": 0})).execution.batch_size == size


@pytest.mark.parametrize(("num_train", "views"), [(100, 8), (500, 8), (1000, 4), (2000, 2), (90_000, 2)])
def test_views_bring_the_pictures_near_four_thousand(num_train: int, views: int):
    phase = Phase(name="all", train="all", epochs=9, learning_rate=1e-3)
    assert resolve(Recipe(phases=(phase,)), facts({"a": num_train, "b": 0})).augment.views == views


@pytest.mark.parametrize(("num_train", "epochs"), [(100, 10), (1143, 9), (1800, 6), (3148, 3), (90_000, 3)])
def test_open_epochs_bring_what_is_trained_near_ten_thousand_pictures(num_train: int, epochs: int):
    recipe = resolve(Recipe(), facts({"a": num_train, "b": 0}))
    assert [phase.epochs for phase in recipe.phases] == [20, epochs]
    assert f"times {epochs} come nearest to 10,000 pictures" in reason(recipe, "phases.fine-tune.epochs")


def test_a_head_search_sees_every_image_once_however_long_it_is():
    search = Phase(name="head", train="head", epochs=30, learning_rate="search")
    tune = Phase(name="tune", train="all", epochs=3, learning_rate=1e-3)
    assert most_epochs(Recipe(images=Images(size=224), phases=(search,))) == 1
    assert most_epochs(Recipe(images=Images(size=224), phases=(search, tune))) == 3


def test_a_phase_with_pictures_of_its_own_size_takes_no_turns_with_views():
    small = Phase(name="small", train="all", epochs=9, learning_rate=1e-3, image_size=128)
    large = Phase(name="large", train="all", epochs=2, learning_rate=1e-3)
    assert most_epochs(Recipe(images=Images(size=224), phases=(small, large))) == 2


def test_no_more_views_than_epochs():
    phase = Phase(name="head", train="head", epochs=3, learning_rate=1e-3)
    recipe = resolve(Recipe(phases=(phase,)), facts({"a": 100, "b": 100}))
    assert recipe.augment.views == 3
    assert "3 epochs" in reason(recipe, "augment.views")


def test_one_view_when_nothing_is_augmented():
    assert resolve(Recipe(augment=PLAIN), facts({"a": 100, "b": 100})).augment.views == 1


@pytest.mark.parametrize(
    "change",
    [
        {"rotate_degrees": 1.0},
        {"flip": "vertical"},
        {"crop_area": (0.9, 1.0)},
        {"color": Color(brightness=0.1)},
        {"color": Color(contrast=0.1)},
        {"color": Color(saturation=0.1)},
        {"color": Color(hue=0.1)},
        {"erase": Erase(probability=0.1)},
    ],
)
def test_each_variation_counts_as_augmentation(change: dict[str, object]):
    assert not is_augmented(PLAIN)
    assert is_augmented(PLAIN.model_copy(update=change))


@pytest.mark.parametrize(("installed", "expected"), [(True, "wheel"), (False, "hub")])
def test_a_backbone_takes_its_weights_from_its_wheel_where_that_is_installed(monkeypatch, installed, expected):
    monkeypatch.setattr("fitwell.recipe.resolve.find_spec", lambda name: object() if installed else None)
    assert choose_weights("tf_efficientnet_lite1")[0] == expected


def test_a_gradual_phase_becomes_a_phase_for_each_step():
    gradual = Phase.model_validate(
        {"name": "tune", "train": {"gradual": {"every": 2}}, "epochs": 20, "learning_rate": 1e-3}
    )
    last = Phase(name="last", train="all", epochs=1, learning_rate=1e-5)
    recipe = resolve(Recipe(phases=(gradual, last)), facts({"a": 100, "b": 100}))
    assert [phase.name for phase in recipe.phases] == [*(f"tune-{step}" for step in range(1, 7)), "last"]
    assert recipe.phases[0].train == "head"
    assert [phase.train for phase in recipe.phases[1:6]] == [Stages(stages=count) for count in range(1, 6)]
    assert reason(recipe, "phases.tune.train").startswith("tf_efficientnet_lite0 has 5 stages")


def test_a_small_net_is_trained_from_scratch_at_its_own_size():
    recipe = resolve(Recipe(model=Model(backbone="small_resnet")), facts({"a": 100, "b": 100}))
    assert recipe.model.weights == "none"
    assert reason(recipe, "model.weights") == "small_resnet is trained from scratch."
    assert reason(recipe, "images.size") == "small_resnet is meant for 224 x 224 pixels."


def test_a_step_cannot_have_the_name_of_another_phase():
    gradual = Phase.model_validate(
        {"name": "tune", "train": {"gradual": {"every": 2}}, "epochs": 4, "learning_rate": 1e-3}
    )
    other = Phase(name="tune-2", train="all", epochs=1, learning_rate=1e-5)
    with pytest.raises(RecipeError, match=r"(?s)name of another phase: tune-1, tune-2, tune-2.*give one of the two"):
        resolve(Recipe(phases=(gradual, other)), facts({"a": 100, "b": 100}))


def test_the_pretraining_counts_as_128_pictures_beside_those_that_adapt_its_statistics():
    few, many = (resolve(Recipe(), facts({"a": count, "b": count})) for count in (16, 5000))
    assert few.model.own_statistics == 32 / 160
    assert many.model.own_statistics == 0.5
    assert "32 training pictures" in reason(few, "model.own_statistics")


def test_statistics_are_not_adapted_without_pretraining_or_without_batch_norm():
    scratch = resolve(Recipe(model=Model(backbone="small_resnet")), facts({"a": 50, "b": 50}))
    without = resolve_recipe(
        Recipe(), facts({"a": 50, "b": 50}), BackboneFacts(lambda name: 224, lambda name: 5, lambda name: 0)
    )
    assert (scratch.model.own_statistics, without.model.own_statistics) == (0.0, 0.0)
    assert reason(scratch, "model.own_statistics").startswith("Nothing was pretrained")
    assert reason(without, "model.own_statistics") == "tf_efficientnet_lite0 has no BatchNorm."


def test_several_classes_an_image_are_chosen_by_the_mean_auc_and_are_not_weighed():
    data = DataFacts(num_train=1000, class_counts={"effusion": 20, "nodule": 600})
    recipe = resolve(Recipe(target=Target(kind="multi_label")), data)
    assert (recipe.select.metric, recipe.balance.class_weights) == ("auc", "none")
    assert "counts a rare one as much as a frequent one" in reason(recipe, "select.metric")
    assert "threshold of its own" in reason(recipe, "balance.class_weights")


def test_average_precision_chooses_where_the_auc_of_a_class_is_not_defined():
    data = DataFacts(num_train=1000, class_counts={"effusion": 20, "chest": 1000})
    recipe = resolve(Recipe(target=Target(kind="multi_label")), data)
    assert recipe.select.metric == "average_precision"
    assert reason(recipe, "select.metric") == "Every training image shows chest, so its AUC is not defined."
