"""What small runs are trained by, and targets to hold them to."""

from fitwell.recipe.goals import Targets
from fitwell.recipe.read import recipe_of, write_recipe

SETTINGS = {
    "model.backbone": "test_efficientnet",
    "model.weights": "none",
    "images.size": 32,
    "augment.views": 2,
    "phases": [{"name": "all", "train": "all", "epochs": 8, "learning_rate": 0.003, "warmup_epochs": 1}],
    "select.metric": "log_loss",
    "execution.device": "cpu",
    "execution.precision": "float32",
    "execution.memory_format": "contiguous",
    "execution.workers": 0,
}
EASY = {"metrics": {"accuracy": 0.3}, "every_class": 0.1, "latency_milliseconds": 60_000, "weights_size": "1GB"}
HARD = EASY | {"metrics": {"auc": 0.999}}


def with_targets(classifier, targets):
    recipe = recipe_of(classifier.run).model_copy(update={"targets": Targets.model_validate(targets)})
    write_recipe(classifier.run.recipe, recipe)
    return classifier
