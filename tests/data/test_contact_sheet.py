import numpy as np
import pytest
import torch
from PIL import Image

from fitwell.data.contact_sheet import COLUMNS, GAP, TILE, contact_sheet
from fitwell.data.loader import ImageSource
from fitwell.data.transforms import Preprocessing
from fitwell.data.variation import Augmentation

SQUARE = Preprocessing(64, "squash", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")


def source(folder, count):
    for number in range(count):
        left, right = np.full((64, 32, 3), 20 + 10 * number, np.uint8), np.full((64, 32, 3), 250, np.uint8)
        Image.fromarray(np.concatenate([left, right], axis=1)).save(folder / f"{number:02}.png")
    names = tuple(f"{number:02}.png" for number in range(count))
    return ImageSource(folder, names, SQUARE, Augmentation(flip="horizontal", brightness=0.3), seed=0)


def tile(sheet, row, column):
    top, left = row * (TILE + GAP), column * (TILE + GAP)
    return np.asarray(sheet)[top : top + TILE, left : left + TILE].astype(int)


def test_each_row_begins_with_what_evaluation_sees_and_varies_it(tmp_path):
    sheet = contact_sheet(source(tmp_path, 20))
    for row, number in enumerate((0, 3, 7, 11, 15, 19)):
        plain = tile(sheet, row, 0)
        assert plain[TILE // 2, 10, 0] == pytest.approx(20 + 10 * number, abs=1)
        assert plain[TILE // 2, -10, 0] == pytest.approx(250, abs=1)
        varied = [tile(sheet, row, column) for column in range(1, COLUMNS)]
        assert any(picture[TILE // 2, 10, 0] > picture[TILE // 2, -10, 0] for picture in varied)  # mirrored
        assert len({int(picture[TILE // 2, 10, 0]) for picture in varied}) > 3


def test_a_last_row_shows_joined_images(tmp_path):
    images = source(tmp_path, 20)
    sheet = contact_sheet(images, lambda batch: (batch + batch.flip(0)) / 2)
    assert sheet.height == contact_sheet(images).height + TILE + GAP
    first, last = (images.load(number, 0)[:, 32, 5] for number in (0, 19))
    mean = 255 * ((first + last) / 2 * torch.tensor(SQUARE.std) + torch.tensor(SQUARE.mean))
    assert tile(sheet, 6, 0)[TILE // 2, 10].tolist() == pytest.approx(mean.tolist(), abs=1.5)


def test_fewer_images_make_fewer_rows(tmp_path):
    assert contact_sheet(source(tmp_path, 2)).size == (COLUMNS * (TILE + GAP) - GAP, 2 * (TILE + GAP) - GAP)
