from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from fitwell.data.loader import ImageSource
from fitwell.data.resident import ResidentImages, vary
from fitwell.data.transforms import Preprocessing, training_tensor
from fitwell.data.variation import Augmentation, draw_variation

ALL = Augmentation(
    rotate_degrees=15,
    flip="dihedral",
    crop_area=(0.6, 1.0),
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    hue=0.1,
    erase_probability=0.5,
)
SQUARE = Preprocessing(192, "crop", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")

MOST_LEVELS = 6  # half a pixel of these photographs: an upright window of one picture alone begins between two pixels


def photographs(height=240):
    """Two photographs, one of them upright: (H, W, 3) uint8 of the size that pictures are prepared at."""
    for name, turned in (("china.jpg", False), ("flower.jpg", True)):
        image = Image.fromarray(load_sample_image(name)).resize((height * 3 // 2, height), Image.Resampling.LANCZOS)
        yield np.array(image.transpose(Image.Transpose.ROTATE_90) if turned else image)


def both_ways(augmentation, preprocessing=SQUARE, seeds=range(12)):
    """The same variations one picture at a time and as one batch."""
    pixels = [picture for picture in photographs() for _ in seeds]
    numbers = [seed for _ in range(2) for seed in seeds]
    alone = torch.stack(
        [training_tensor(each, preprocessing, augmentation, seed) for each, seed in zip(pixels, numbers, strict=True)]
    )
    drawn = [
        draw_variation((each.shape[1], each.shape[0]), preprocessing.size, preprocessing.fit, augmentation, seed)
        for each, seed in zip(pixels, numbers, strict=True)
    ]
    pictures = [torch.from_numpy(each).permute(2, 0, 1) for each in pixels]
    return alone, vary(pictures, drawn, preprocessing)


def mean_difference(one, other):
    """Mean difference of each picture in levels of 255."""
    std = torch.tensor(SQUARE.std).view(1, 3, 1, 1)
    return 255 * ((one - other) * std).abs().mean(dim=(1, 2, 3))


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize(
    "kept",
    [
        {"flip": "none"},
        {"flip": "dihedral"},
        {"rotate_degrees": 15.0},
        {"crop_area": (0.6, 1.0)},
        {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2},
        {"hue": 0.1},
        {"erase_probability": 0.5},
        {"scale": (0.8, 1.25), "translate": 0.15},
        {"perspective_probability": 0.5, "perspective_distortion": 0.3},
        {"perspective_probability": 1.0, "perspective_distortion": 0.3, "flip": "dihedral", "rotate_degrees": 15.0},
        {"grey_probability": 0.5},
        vars(ALL),
    ],
)
def test_a_batch_shows_what_each_picture_alone_does(fit, kept):
    alone, batch = both_ways(replace(Augmentation(), **kept), replace(SQUARE, fit=fit))
    assert batch.shape == alone.shape == (24, 3, 192, 192)
    assert batch.dtype == torch.float32
    assert float(mean_difference(alone, batch).max()) < MOST_LEVELS
    wrong = mean_difference(alone, batch.flip(3))  # what a mistake of one symmetry would make
    assert float(wrong.min()) > 8


def test_batches_are_those_that_were_asked_for_and_do_not_depend_on_one_another(tmp_path):
    for number, pixels in enumerate([*photographs(), *photographs(300)]):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    source = ImageSource(tmp_path, tuple(f"{number}.png" for number in range(4)), SQUARE, ALL, seed=3)
    resident = ResidentImages(source, "cpu", threads=2)
    first, second = np.array([2, 0, 3]), np.array([1])
    batches = list(resident.batches([first, second], epoch=1))
    assert [indices.tolist() for _, indices in batches] == [[2, 0, 3], [1]]
    for place, image in enumerate(first):
        ((alone, _),) = resident.batches([np.array([image])], epoch=1)
        torch.testing.assert_close(batches[0][0][place], alone[0], rtol=0, atol=2e-3)  # the canvas was another one
        streamed = source.load(int(image), 1)
        assert float(mean_difference(streamed[None], alone)) < MOST_LEVELS
    ((again, _),) = resident.batches([second], epoch=1)
    assert again.equal(batches[1][0])
    ((later, _),) = resident.batches([second], epoch=2)
    assert not again.equal(later)


def test_pictures_that_are_not_varied_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected an augmentation"):
        ResidentImages(ImageSource(tmp_path, (), SQUARE, None, seed=0), "cpu", threads=1)
