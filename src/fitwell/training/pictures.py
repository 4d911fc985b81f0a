"""What a recipe says about pictures, in the words of the data folder."""

from __future__ import annotations

from fitwell.data.image_cache import training_side
from fitwell.data.transforms import Preprocessing
from fitwell.data.variation import Augmentation
from fitwell.model.network import normalisation
from fitwell.recipe.schema import Recipe


def preprocessing_of(recipe: Recipe) -> Preprocessing:
    """Return how a resolved `recipe` turns a picture into the network's input."""
    pixels = normalisation(recipe.model.backbone)
    return Preprocessing(
        size=int(recipe.images.size),
        fit=recipe.images.fit,
        crop_fraction=float(recipe.images.crop_fraction),
        mean=pixels.mean,
        std=pixels.std,
        interpolation=pixels.interpolation,
    )


def augmentation_of(recipe: Recipe) -> Augmentation:
    """Return how far a `recipe` varies training pictures."""
    augment = recipe.augment
    return Augmentation(
        rotate_degrees=augment.rotate_degrees,
        flip=augment.flip,
        crop_area=augment.crop_area,
        scale=augment.scale,
        translate=augment.translate,
        perspective_probability=augment.perspective.probability,
        perspective_distortion=augment.perspective.distortion,
        brightness=augment.color.brightness,
        contrast=augment.color.contrast,
        saturation=augment.color.saturation,
        hue=augment.color.hue,
        erase_probability=augment.erase.probability,
        erase_area=augment.erase.area,
        grey_probability=augment.grey,
        policy=augment.policy,
    )


def resident_bytes(recipe: Recipe, num_train: int) -> int:
    """Return about what the training pictures take where all of them are held: photographs of three to two."""
    side = training_side(preprocessing_of(recipe), augmentation_of(recipe))
    return round(num_train * 3 * 1.5 * side**2)
