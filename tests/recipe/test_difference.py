from fitwell.recipe.difference import recipe_difference, settings_asked, settings_of
from fitwell.recipe.phase import Phase, Stages
from fitwell.recipe.schema import Execution, Images, Optimizer, Recipe, Resolution

HEAD = Phase(name="head", train="head", epochs=3, learning_rate=1e-3)
TUNE = Phase(name="fine-tune", train=Stages(stages=2), epochs=5, learning_rate=1e-4)


def test_a_recipe_differs_from_itself_in_nothing():
    assert recipe_difference(Recipe(), Recipe()) == []


def test_only_the_settings_that_differ_are_told_with_their_dotted_keys():
    before = Recipe(phases=(HEAD,), optimizer=Optimizer(weight_decay=0.1))
    after = Recipe(phases=(HEAD.model_copy(update={"epochs": 9}),), images=Images(size=128), seed=4)
    assert recipe_difference(before, after) == [
        {"key": "images.size", "before": "auto", "after": 128},
        {"key": "optimizer.weight_decay", "before": 0.1, "after": 0.05},
        {"key": "phases.head.epochs", "before": 3, "after": 9},
        {"key": "seed", "before": 0, "after": 4},
    ]


def test_a_phase_that_only_one_has_is_told_in_short():
    told = {"train": {"stages": 2}, "epochs": 5, "learning_rate": 1e-4}
    without, with_it = Recipe(phases=(HEAD,)), Recipe(phases=(HEAD, TUNE))
    assert recipe_difference(without, with_it) == [{"key": "phases.fine-tune", "before": None, "after": told}]
    assert recipe_difference(with_it, without) == [{"key": "phases.fine-tune", "before": told, "after": None}]


def test_a_description_decides_nothing():
    assert recipe_difference(Recipe(description="one"), Recipe(description="another")) == []


def test_what_was_asked_is_what_stood_there_before_auto_was_resolved():
    rows = [("images.size", "auto", 224), ("execution.workers", "auto", 2), ("phases.v1.2.epochs", "auto", 7)]
    asked = Recipe(phases=(TUNE.model_copy(update={"name": "v1.2", "epochs": "auto"}),))
    resolved = asked.model_copy(
        update={
            "images": Images(size=224),
            "execution": Execution(workers=2),
            "phases": (asked.phases[0].model_copy(update={"epochs": 7}),),
            "resolved": tuple(Resolution(key=key, asked=asked, used=used, reason="") for key, asked, used in rows),
        }
    )
    assert settings_asked(resolved) == settings_of(asked)


def test_the_record_of_a_gradual_phase_is_left_alone():
    row = Resolution(key="phases.slow.train", asked="gradual", used="slow-1, slow-2", reason="")
    recipe = Recipe(phases=(HEAD,), resolved=(row,))
    assert settings_asked(recipe) == settings_of(recipe)
