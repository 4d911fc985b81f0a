from fitwell.data.transforms import Preprocessing
from fitwell.data.variation import Augmentation
from fitwell.recipe.schema import Augment, Color, Erase, Images
from fitwell.training.pictures import augmentation_of, preprocessing_of, resident_bytes
from pictures import tiny_recipe


def test_the_preprocessing_is_that_of_the_recipe_and_the_backbone():
    recipe = tiny_recipe(images=Images(size=48, fit="pad", crop_fraction=0.9))
    assert preprocessing_of(recipe) == Preprocessing(
        48, "pad", 0.9, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic"
    )


def test_every_variation_of_the_recipe_arrives():
    color = Color(brightness=0.1, contrast=0.2, saturation=0.3, hue=0.4)
    erase = Erase(probability=0.6, area=(0.1, 0.3))
    recipe = tiny_recipe(
        augment=Augment(rotate_degrees=7, flip="both", crop_area=(0.5, 0.9), color=color, erase=erase, views=1)
    )
    assert augmentation_of(recipe) == Augmentation(7, "both", (0.5, 0.9), 0.1, 0.2, 0.3, 0.4, 0.6, (0.1, 0.3))


def test_resident_pictures_are_counted_at_the_size_that_the_smallest_crop_needs():
    recipe = tiny_recipe(images=Images(size=224, crop_fraction=1.0), augment=Augment(crop_area=(0.75, 1.0), views=1))
    assert resident_bytes(recipe, 1000) == 1000 * 3 * 1.5 * 299**2  # 224 / sqrt(0.75 * 3 / 4) is 298.7
