from fitwell.data.transforms import Preprocessing
from fitwell.data.variation import Augmentation
from fitwell.recipe.schema import Augment, Color, Erase, Images, Perspective
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
    asked = {"rotate_degrees": 7.0, "flip": "both", "crop_area": (0.5, 0.9), "scale": (0.8, 1.2), "translate": 0.15}
    perspective = Perspective(probability=0.3, distortion=0.25)
    augment = Augment(**asked, color=color, erase=erase, perspective=perspective, grey=0.05, policy="rand", views=1)
    assert augmentation_of(tiny_recipe(augment=augment)) == Augmentation(
        **asked,
        brightness=0.1,
        contrast=0.2,
        saturation=0.3,
        hue=0.4,
        erase_probability=0.6,
        erase_area=(0.1, 0.3),
        perspective_probability=0.3,
        perspective_distortion=0.25,
        grey_probability=0.05,
        policy="rand",
    )


def test_resident_pictures_are_counted_at_the_size_that_the_smallest_crop_needs():
    recipe = tiny_recipe(images=Images(size=224, crop_fraction=1.0), augment=Augment(crop_area=(0.75, 1.0), views=1))
    assert resident_bytes(recipe, 1000) == 1000 * 3 * 1.5 * 299**2  # 224 / sqrt(0.75 * 3 / 4) is 298.7
