import math

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from fitwell.data.transforms import Preprocessing, denormalise, normalise, training_tensor
from fitwell.data.variation import Augmentation, draw_variation
from pictures import evaluation_tensor

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
QUIET = Augmentation()


def settings(size=32, fit="crop", crop_fraction=1.0, mean=MEAN, std=STD, interpolation="bicubic"):
    return Preprocessing(size, fit, crop_fraction, mean, std, interpolation)


PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def noise(width, height, seed=0):
    """A picture with structure at all scales, so that a shift of one pixel shows."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def levels(tensor):
    """The 8-bit pixels (3, H, W) that a tensor made with PLAIN stands for."""
    return (tensor * 255).round().to(torch.int64)


def unrounded(picture):
    """The picture as (3, H, W) float32 from 0 to 1, in which torchvision rounds nothing to 8 bits."""
    return v2.functional.to_dtype(v2.functional.pil_to_tensor(picture), torch.float32, scale=True)


@pytest.mark.parametrize("size", [(50, 40), (40, 53), (31, 64), (300, 300), (20, 20), (33, 200)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("crop_fraction", [0.875, 0.9, 1.0])
def test_crop_is_torchvisions_resize_and_center_crop(size, interpolation, crop_fraction):
    picture = noise(*size)
    reference = v2.Compose(
        [
            v2.Resize(math.floor(32 / crop_fraction), v2.InterpolationMode(interpolation)),
            v2.CenterCrop(32),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    found = evaluation_tensor(picture, settings(crop_fraction=crop_fraction, interpolation=interpolation))
    torch.testing.assert_close(found, reference(picture), rtol=0, atol=1e-6)


def test_every_level_is_the_same_after_normalising_and_back():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    for mean, std in ((MEAN, STD), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))):
        preprocessing = settings(mean=mean, std=std)
        np.testing.assert_array_equal(denormalise(normalise(pixels, preprocessing), preprocessing), pixels)


def test_crop_is_timms_evaluation_transform():
    from timm.data import create_transform

    picture = noise(90, 61)
    reference = create_transform(32, is_training=False, mean=MEAN, std=STD, interpolation="bicubic", crop_pct=0.9)
    torch.testing.assert_close(
        evaluation_tensor(picture, settings(crop_fraction=0.9)), reference(picture), rtol=0, atol=1e-6
    )


def test_the_tensor_is_float32_and_contiguous():
    tensor = evaluation_tensor(noise(40, 40), settings())
    assert (tensor.shape, tensor.dtype, tensor.is_contiguous()) == ((3, 32, 32), torch.float32, True)


def test_pad_keeps_all_and_fills_with_the_mean_colour():
    tensor = evaluation_tensor(Image.new("RGB", (64, 32), "white"), settings(fit="pad"))
    assert tensor[:, 8:24].allclose(torch.tensor([(1 - m) / s for m, s in zip(MEAN, STD, strict=True)])[:, None, None])
    around = torch.cat([tensor[:, :8], tensor[:, 24:]], dim=1)
    assert around.abs().max() < 0.5 / 255 / min(STD)  # zero but for the rounding to 8 bits


@pytest.mark.parametrize("size", [(1, 500), (500, 1), (1, 1)])
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_the_narrowest_pictures_fit(size, fit):
    picture = Image.new("RGB", size, "white")
    augmentation = Augmentation(rotate_degrees=20, crop_area=(0.5, 1.0))
    assert evaluation_tensor(picture, settings(fit=fit)).shape == (3, 32, 32)
    assert training_tensor(np.array(picture), settings(fit=fit), augmentation, 3).shape == (3, 32, 32)


def test_squash_is_one_resize():
    picture = noise(70, 33)
    expected = np.asarray(picture.resize((32, 32), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    found = levels(evaluation_tensor(picture, settings(fit="squash", **PLAIN)))
    assert np.array_equal(found.numpy(), expected)


def test_training_without_variation_is_the_evaluation():
    picture = noise(70, 70)
    for fit in ("crop", "squash", "pad"):
        found = training_tensor(np.array(picture), settings(fit=fit, **PLAIN), QUIET, 1)
        difference = (found - evaluation_tensor(picture, settings(fit=fit, **PLAIN))).abs() * 255
        assert difference.max() < 3.01  # levels; torch rounds its weights, Pillow does not
        assert difference.mean() < 0.1


def test_training_without_variation_keeps_a_padded_picture_whole():
    picture = noise(80, 40)
    found = training_tensor(np.array(picture), settings(fit="pad", **PLAIN), QUIET, 1)
    expected = evaluation_tensor(picture, settings(fit="pad", **PLAIN))
    assert (found - expected).abs().mean() < 0.01


ALL = Augmentation(
    rotate_degrees=20,
    flip="both",
    crop_area=(0.5, 1.0),
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    hue=0.1,
    erase_probability=0.5,
)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_the_seed_alone_decides_the_variation(fit):
    picture = noise(60, 45)
    first = training_tensor(np.array(picture), settings(fit=fit), ALL, 7)
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    again = training_tensor(np.array(picture), settings(fit=fit), ALL, 7)
    assert first.equal(again)
    assert torch.get_rng_state().equal(before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert not training_tensor(np.array(picture), settings(fit=fit), ALL, 8).equal(first)
    assert (first.shape, first.dtype) == ((3, 32, 32), torch.float32)


def gradient(width, height):
    """Red grows by 1 with x, green with y: a pixel tells where it comes from."""
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([across, down, np.zeros_like(down)], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("size", [(200, 200), (250, 160), (120, 200)])
def test_crops_keep_the_asked_area_and_aspect_and_reach_every_border(size):
    width, height = size
    areas, aspects, lows, highs = [], [], [], []
    for seed in range(150):
        augmentation = Augmentation(crop_area=(0.3, 0.6))
        red, green, _ = levels(
            training_tensor(np.array(gradient(*size)), settings(size=50, **PLAIN), augmentation, seed)
        )
        kept_width = (red[25, -1] - red[25, 0]).item() * 50 / 49
        kept_height = (green[-1, 25] - green[0, 25]).item() * 50 / 49
        areas.append(kept_width * kept_height / (width * height))
        aspects.append(kept_width / kept_height)
        lows.append(min(red.min().item() / width, green.min().item() / height))
        highs.append(max(red.max().item() / width, green.max().item() / height))
    assert 0.28 < min(areas) < 0.33
    assert 0.57 < max(areas) < 0.62
    assert 0.72 < min(aspects) < 0.85
    assert 1.2 < max(aspects) < 1.36
    assert min(lows) < 0.03
    assert max(highs) > 0.97


def test_a_crop_that_cannot_have_its_area_is_the_largest_of_an_allowed_aspect():
    red, green, _ = levels(training_tensor(np.array(gradient(250, 60)), settings(size=50, **PLAIN), QUIET, 0))
    assert (red[0, -1] - red[0, 0]).item() * 50 / 49 == pytest.approx(80, abs=2)  # 60 * 4 / 3
    assert (green[-1, 0] - green[0, 0]).item() * 50 / 49 == pytest.approx(60, abs=2)
    red, green, _ = levels(training_tensor(np.array(gradient(60, 250)), settings(size=50, **PLAIN), QUIET, 0))
    assert (green[-1, 0] - green[0, 0]).item() * 50 / 49 == pytest.approx(80, abs=2)


@pytest.mark.parametrize(("fit", "kept"), [("squash", (100, 50)), ("pad", (100, 100))])
def test_the_other_fits_crop_first_and_keep_their_shape(fit, kept):
    augmentation = Augmentation(crop_area=(0.25, 0.25))
    for seed in range(5):
        red, green, _ = levels(
            training_tensor(np.array(gradient(200, 100)), settings(size=50, fit=fit, **PLAIN), augmentation, seed)
        )
        row = green[:, 25].ge(1).nonzero().flatten()  # rows that show the picture and not the fill
        column = red[row[len(row) // 2]]
        assert (column[40] - column[10]).item() == pytest.approx(30 / 50 * kept[0], abs=2)
        span = row[-2] - row[1]
        assert (green[row[-2], 25] - green[row[1], 25]).item() == pytest.approx(span.item() / 50 * kept[1], abs=2)


def test_rotation_is_the_affine_turn_and_corners_get_the_mean_colour():
    # At the size of the picture itself torchvision's rotate is the reference.
    picture = noise(96, 96)
    augmentation = Augmentation(rotate_degrees=30)
    for seed in range(6):
        angle = 30 * (2 * np.random.default_rng(seed).random(16)[4] - 1)
        found = training_tensor(np.array(picture), settings(size=96, fit="squash", **PLAIN), augmentation, seed)
        expected = v2.functional.rotate(unrounded(picture), angle, v2.InterpolationMode.BILINEAR)
        difference = (found - expected).abs()
        assert difference.mean() < 0.004
        assert difference[:, 30:66, 30:66].max() < 1e-4
    filled = training_tensor(np.array(picture), settings(size=96, fit="squash"), augmentation, 0)
    assert filled[:, 0, 0].abs().max() < 1e-6


def test_scale_and_shift_are_the_affine_transform():
    picture = noise(96, 96)
    augmentation = Augmentation(rotate_degrees=20, scale=(0.85, 1.15), translate=0.15)
    for seed in range(6):
        draws = np.random.default_rng(seed).random(20)
        scale, angle = 0.85 + 0.3 * draws[19], 20 * (2 * draws[4] - 1)
        found = training_tensor(np.array(picture), settings(size=96, fit="squash", **PLAIN), augmentation, seed)
        # About the centre: the window is shifted in the picture's own directions, then turned and scaled.
        right, down = (0.15 * 96 * (2 * draw - 1) / scale for draw in draws[17:19])
        cos, sin = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
        shift = [cos * right + sin * down, -sin * right + cos * down]
        expected = v2.functional.affine(
            unrounded(picture), -angle, shift, scale, [0.0, 0.0], v2.InterpolationMode.BILINEAR
        )
        inner = (found - expected).abs()[:, 40:56, 40:56]
        assert inner.max() < (1e-3 if scale > 1 else 0.2)  # what is made smaller is smoothed first
        assert inner.mean() < 0.03


def test_what_is_shifted_beyond_the_edge_is_the_mean_colour():
    augmentation = Augmentation(crop_area=(0.05, 0.1), scale=(0.5, 0.5), translate=1.0)
    preprocessing, picture = settings(**PLAIN), np.full((40, 40, 3), 255, np.uint8)
    seen = [training_tensor(picture, preprocessing, augmentation, seed) for seed in range(300)]
    blank = [tensor for tensor in seen if tensor.abs().max() < 1e-6]
    assert 0 < len(blank) < len(seen)
    assert all(tensor.shape == (3, preprocessing.size, preprocessing.size) for tensor in seen)


def test_perspective_is_torchvisions_with_corners_moved_inwards():
    picture = noise(96, 96)
    augmentation = Augmentation(perspective_probability=1.0, perspective_distortion=0.4)
    corners = [[0.0, 0.0], [96.0, 0.0], [96.0, 96.0], [0.0, 96.0]]
    for seed in range(6):
        found = training_tensor(np.array(picture), settings(size=96, fit="squash", **PLAIN), augmentation, seed)
        inwards = 0.4 / 2 * 96 * np.random.default_rng(seed).random(30)[22:].reshape(4, 2)
        assert 0 <= inwards.min() < inwards.max() <= 0.4 * 48
        shown = np.array(corners) + np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * inwards
        expected = v2.functional.perspective(unrounded(picture), corners, shown.tolist(), v2.InterpolationMode.BILINEAR)
        assert (found - expected).abs()[:, 30:66, 30:66].max() < 1e-3


def test_perspective_comes_as_often_as_asked():
    augmentation = Augmentation(perspective_probability=0.3, perspective_distortion=0.2)
    drawn = [draw_variation((96, 96), 96, "crop", augmentation, seed).perspective for seed in range(400)]
    assert np.mean([each is not None for each in drawn]) == pytest.approx(0.3, abs=0.07)


def test_grey_comes_as_often_as_asked_and_is_torchvisions():
    picture = noise(32, 32)
    expected = v2.functional.rgb_to_grayscale(unrounded(picture), num_output_channels=3)
    greys = 0
    for seed in range(200):
        found = training_tensor(np.array(picture), settings(**PLAIN), Augmentation(grey_probability=0.1), seed)
        if bool((found[0] - found[1]).abs().max() < 1e-5):
            greys += 1
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    assert greys == pytest.approx(20, abs=12)


@pytest.mark.parametrize("policy", ["rand", "trivial"])
def test_a_policy_varies_by_the_seed_alone(policy):
    picture = np.array(noise(48, 48))

    def varied(seed):
        return training_tensor(picture, settings(), Augmentation(policy=policy), seed)

    torch.manual_seed(1)
    first, state = varied(7), torch.random.get_rng_state()
    torch.manual_seed(2)
    assert varied(7).equal(first)
    torch.manual_seed(1)
    assert torch.random.get_rng_state().equal(state)  # nobody else's random numbers are used up
    assert len({varied(seed).sum().item() for seed in range(20)}) > 10


def test_a_turned_picture_is_shrunk_without_aliasing():
    # Stripes of one pixel become even grey when shrunk four times; without antialiasing they would beat.
    stripes = Image.fromarray(np.tile(np.array([0, 255], dtype=np.uint8), (256, 128))).convert("RGB")
    found = training_tensor(np.array(stripes), settings(size=64, **PLAIN), Augmentation(rotate_degrees=10), 1)
    assert (found[:, 16:48, 16:48] - 0.5).abs().max() < 0.06


FLIPS = {"as it is": (), "left-right": (2,), "top-bottom": (1,), "turned": (1, 2)}


@pytest.mark.parametrize(
    ("flip", "expected"),
    [
        ("none", {"as it is"}),
        ("horizontal", {"as it is", "left-right"}),
        ("vertical", {"as it is", "top-bottom"}),
        ("both", {"as it is", "left-right", "top-bottom", "turned"}),
        ("dihedral", {f"{swap}{flip}" for swap in ("", "swapped ") for flip in FLIPS}),
    ],
)
def test_flips_happen_where_asked_and_half_of_the_time(flip, expected):
    picture = noise(32, 32)
    plain = evaluation_tensor(picture, settings())
    variants = {name: plain.flip(axes) for name, axes in FLIPS.items()}
    variants |= {f"swapped {name}": variant.mT for name, variant in variants.items()}
    seen = []
    for seed in range(80):
        found = training_tensor(np.array(picture), settings(), Augmentation(flip=flip), seed)
        seen += [name for name, variant in variants.items() if found.allclose(variant, atol=1e-6)]
    assert len(seen) == 80
    assert set(seen) == expected
    assert seen.count("as it is") == pytest.approx(80 / len(expected), abs=14)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colour_changes_match_torchvision(name):
    picture = noise(32, 32)
    adjust = getattr(v2.functional, f"adjust_{name}")
    draw = {"brightness": 7, "contrast": 8, "saturation": 9}[name]
    factors = []
    for seed in range(30):
        factors.append(1 + 0.4 * (2 * np.random.default_rng(seed).random(16)[draw] - 1))
        found = training_tensor(np.array(picture), settings(**PLAIN), Augmentation(**{name: 0.4}), seed)
        torch.testing.assert_close(found, adjust(unrounded(picture), factors[-1]), rtol=0, atol=1e-4)
    assert 0.6 <= min(factors) < 0.7
    assert 1.3 < max(factors) <= 1.4


def test_hue_matches_torchvision():
    picture, turns = noise(32, 32), []
    for seed in range(30):
        turns.append(round(255 * 0.15 * (2 * np.random.default_rng(seed).random(30)[10] - 1)))
        found = levels(training_tensor(np.array(picture), settings(**PLAIN), Augmentation(hue=0.15), seed))
        factor = (turns[-1] + 0.5 * np.sign(turns[-1])) / 255  # torchvision cuts off what lies between two turns
        assert torch.equal(found, v2.functional.pil_to_tensor(v2.functional.adjust_hue(picture, factor)).long())
    assert -38 <= min(turns) < -30
    assert 30 < max(turns) <= 38


def test_hue_turns_the_colour_circle_and_leaves_grey_alone():
    red = Image.new("RGB", (32, 32), (200, 40, 40))
    turned = {
        tuple(levels(training_tensor(np.array(red), settings(**PLAIN), Augmentation(hue=0.5), seed))[:, 0, 0].tolist())
        for seed in range(60)
    }
    assert len(turned) > 20
    assert all(max(color) == 200 and abs(min(color) - 40) <= 2 for color in turned)
    assert {color.index(200) for color in turned} == {0, 1, 2}
    grey = Image.new("RGB", (32, 32), (90, 90, 90))
    assert levels(training_tensor(np.array(grey), settings(**PLAIN), Augmentation(hue=0.5), 3)).unique().tolist() == [
        90
    ]


def test_erasing_fills_a_rectangle_of_the_asked_area_as_often_as_asked():
    white = Image.new("RGB", (64, 64), "white")
    areas = []
    for seed in range(200):
        erased = (
            training_tensor(
                np.array(white), settings(size=64), Augmentation(erase_probability=0.3, erase_area=(0.1, 0.2)), seed
            )[0]
            == 0
        )
        if not erased.any():
            continue
        rows, columns = erased.any(1).nonzero().flatten(), erased.any(0).nonzero().flatten()
        assert erased.sum() == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        areas.append(erased.float().mean().item())
    assert len(areas) == pytest.approx(60, abs=18)
    assert 0.09 < min(areas) < 0.12
    assert 0.18 < max(areas) < 0.21


def test_switching_one_variation_off_leaves_the_others_as_they_are():
    from dataclasses import replace

    picture = noise(32, 32)
    both = training_tensor(np.array(picture), settings(), Augmentation(flip="both", brightness=0.4), 11)
    flipped = training_tensor(np.array(picture), settings(), Augmentation(flip="both"), 11)
    bright = training_tensor(
        np.array(picture), settings(), replace(Augmentation(flip="both", brightness=0.4), flip="none"), 11
    )
    plain = evaluation_tensor(picture, settings())
    flip = next(dims for dims in ((), (1,), (2,), (1, 2)) if flipped.allclose(plain.flip(dims), atol=1e-6))
    assert both.equal(bright.flip(flip))
