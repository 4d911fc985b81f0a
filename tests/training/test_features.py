import numpy as np
import pytest
import timm
import torch

from fitwell.data.decode import decode_image
from fitwell.data.index import index_dataset
from fitwell.errors import DataError
from fitwell.model import activations
from fitwell.recipe.phase import Phase
from fitwell.training import phase_data
from fitwell.training.features import frozen_features
from fitwell.training.pictures import preprocessing_of
from fitwell.training.prepare import create_run, prepare_run
from fitwell.training.session import continue_run
from pictures import evaluation_tensor, tiny_recipe, write_pictures

WHOLE = (Phase(name="all", train="all", epochs=1, learning_rate=0.01),)


@pytest.fixture
def prepared(pictures):
    return prepare_run(index_dataset(pictures), tiny_recipe())


@pytest.fixture
def loaded(monkeypatch):
    """Counts the images that are loaded, whoever asks for them."""
    counts = []
    for module in (activations, phase_data):

        def counting(source, batches, *, load=module.load_batches, **how):
            counts.append(sum(len(batch) for batch in batches))
            return load(source, batches, **how)

        monkeypatch.setattr(module, "load_batches", counting)
    return counts


def features_of(prepared, recipe):
    return frozen_features(prepared.dataset.root, prepared.images, recipe)


def expected_features(prepared, recipe):
    torch.manual_seed(recipe.seed)
    reference = timm.create_model("test_efficientnet", num_classes=0).eval()
    paths, how = prepared.images["path"], preprocessing_of(recipe)
    pictures = [evaluation_tensor(decode_image(prepared.dataset.root / path), how) for path in paths]
    with torch.inference_mode():
        return reference(torch.stack(pictures)).numpy()


def without_cache():
    recipe = tiny_recipe()
    return recipe.model_copy(update={"execution": recipe.execution.model_copy(update={"cache": "none"})})


@pytest.mark.parametrize("recipe", [tiny_recipe(), tiny_recipe(phases=WHOLE), without_cache()])
def test_features_are_those_of_the_bare_backbone_in_the_order_of_the_images(prepared, recipe):
    found, expected = features_of(prepared, recipe), expected_features(prepared, recipe)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("recipe", [tiny_recipe(), tiny_recipe(phases=WHOLE)])
def test_a_second_call_extracts_nothing_and_gives_the_same(prepared, recipe, loaded):
    first = features_of(prepared, recipe)
    done = sum(loaded)
    np.testing.assert_array_equal(features_of(prepared, recipe), first)
    assert (done, sum(loaded)) == (36, 36)


def test_after_a_run_only_the_test_images_are_extracted(prepared, tmp_path, loaded):
    continue_run(create_run(prepared, tmp_path, "run"))
    loaded.clear()
    features_of(prepared, tiny_recipe())
    assert sum(loaded) == prepared.images["split"].value_counts()["test"] == 5


def test_a_run_after_a_call_extracts_no_evaluated_picture_again(prepared, tmp_path, loaded):
    features_of(prepared, tiny_recipe())
    loaded.clear()
    continue_run(create_run(prepared, tmp_path, "run"))
    assert sum(loaded) == 26  # the one augmented view of the training images


def test_images_before_a_split_are_one_part(prepared):
    together = frozen_features(prepared.dataset.root, prepared.images.drop(columns="split"), tiny_recipe())
    np.testing.assert_allclose(together, features_of(prepared, tiny_recipe()), atol=1e-4)


def test_a_store_without_room_is_done_without(prepared, own_cache):
    recipe = tiny_recipe()
    recipe = recipe.model_copy(update={"limits": recipe.limits.model_copy(update={"cache": 1000})})
    assert features_of(prepared, recipe).shape[0] == 36
    assert not list(own_cache.glob("*/data.bin"))


def test_an_image_that_does_not_decode_is_never_passed_over(tmp_path):
    folder = write_pictures(tmp_path)
    prepared = prepare_run(index_dataset(folder), tiny_recipe())
    (folder / "red" / "00.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"red/00\.png"):
        features_of(prepared, tiny_recipe())
