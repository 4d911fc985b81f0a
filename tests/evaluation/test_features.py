import numpy as np
import pytest
import timm
import torch
from PIL import Image

from fitwell.data.transforms import Preprocessing, evaluation_tensor
from fitwell.errors import DataError
from fitwell.evaluation.features import frozen_features
from pictures import write_pictures

PREPROCESSING = Preprocessing(
    size=32, fit="crop", crop_fraction=1.0, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic"
)


def features(folder, paths, backbone="test_efficientnet"):
    torch.manual_seed(0)
    return frozen_features(folder, paths, PREPROCESSING, backbone=backbone, weights="none", device="cpu")


def test_features_are_those_of_the_bare_backbone(tmp_path):
    folder = write_pictures(tmp_path, per_class=20)
    paths = [f"{name}/{number:02}.png" for name in ("red", "blue") for number in range(20)]
    torch.manual_seed(0)
    reference = timm.create_model("test_efficientnet", num_classes=0).eval()
    images = torch.stack([evaluation_tensor(Image.open(folder / path), PREPROCESSING) for path in paths])
    with torch.inference_mode():
        expected = reference(images).numpy()
    found = features(folder, paths)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_image_that_does_not_decode_is_never_passed_over(tmp_path):
    folder = write_pictures(tmp_path, per_class=2)
    (folder / "red" / "00.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"red/00\.png"):
        features(folder, ["red/01.png", "red/00.png"])
