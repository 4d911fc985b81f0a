import numpy as np
import pytest
from PIL import Image, ImageDraw

from drawings import VARIANTS, compressed, cropped, drawing
from fitwell.data.check.perceptual_hash import VIEWS
from fitwell.data.check.same_picture import SIDE, differences, thumbnail

WHOLE = VIEWS[0]


def difference(first, second, view=WHOLE):
    return float(differences(thumbnail(first)[None], thumbnail(second)[None], np.array([view]))[0])


def clock(hour):
    image = Image.new("RGB", (160, 160), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((10, 10, 149, 149), fill=(235, 235, 220), outline="black", width=6)
    angle = np.radians(30 * hour - 90)
    draw.line((80, 80, 80, 30), fill="black", width=5)
    draw.line((80, 80, 80 + 38 * np.cos(angle), 80 + 38 * np.sin(angle)), fill="black", width=5)
    return image


def disc(colour):
    image = Image.new("RGB", (160, 160), "white")
    ImageDraw.Draw(image).ellipse((20, 20, 139, 139), fill=colour)
    return image


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_the_same_picture(name):
    view = VIEWS[{"4 % off the middle": 1, "4 % off a corner": 3, "4 % off every edge": 6}.get(name, 0)]
    for seed in range(5):
        assert difference(drawing(seed), VARIANTS[name](drawing(seed)), view) <= 1


def test_a_picture_does_not_differ_from_itself():
    assert difference(drawing(0), drawing(0)) == pytest.approx(0, abs=1e-4)


def test_different_pictures_differ():
    assert all(difference(drawing(seed), drawing(seed + 1)) > 1 for seed in range(20))


def test_a_crop_is_found_where_it_lies_and_not_only_at_the_view_proposed():
    image = drawing(5, (300, 300))
    assert difference(image, cropped(image, 0.01, 0.03, 0.97, 1), view=VIEWS[1]) <= 1


@pytest.mark.parametrize("hour", [1, 3, 6, 9])
def test_clocks_that_differ_in_one_hand_are_two_pictures(hour):
    assert difference(clock(hour), compressed(clock(hour), 90)) <= 1
    assert difference(clock(hour), clock(hour + 1)) > 1


def test_things_of_two_colours_equally_bright_are_two_pictures():
    red, green = (220, 60, 60), (10, 141, 77)  # luma 107.8 and 107.9 of 255
    assert difference(disc(red), disc(green)) > 1
    assert difference(disc(red), disc(red).convert("L").convert("RGB")) <= 1


def test_two_grey_pictures_need_no_colour():
    assert difference(disc((90, 90, 90)), compressed(disc((90, 90, 90)), 60)) <= 1
    assert difference(disc((90, 90, 90)), disc((130, 130, 130))) > 1


def test_brightness_beyond_a_sixth_is_another_picture():
    image = drawing(7)
    darker = Image.fromarray((np.asarray(image) * 0.7).astype(np.uint8))
    assert difference(image, darker) > 1


def test_a_local_difference_counts_in_units_of_what_is_tolerated():
    # Black and white halves have a deviation of 0.5, so a flat place may differ by 0.02; a patch of 10 / 255 is 1.96.
    pixels = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    pixels[:, SIDE // 2 :] = 255
    patched = pixels.copy()
    patched[20:40, 6:26] = 10
    assert differences(pixels[None], patched[None], WHOLE[None])[0] == pytest.approx(10 / 255 / 0.02, rel=0.02)


def test_pairs_are_judged_one_by_one_whatever_stands_beside_them():
    thumbnails = np.stack([thumbnail(drawing(seed)) for seed in range(6)])
    copies = np.stack([thumbnail(compressed(drawing(seed))) for seed in range(6)])
    copies[3] = thumbnails[5]
    together = differences(thumbnails, copies, np.tile(WHOLE, (6, 1)))
    alone = [differences(thumbnails[i, None], copies[i, None], WHOLE[None])[0] for i in range(6)]
    assert np.allclose(together, alone, rtol=1e-3)
    assert (together <= 1).tolist() == [True, True, True, False, True, True]
