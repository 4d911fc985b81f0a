from dataclasses import replace

import pytest
import torch

from fitwell.data.loader import ImageSource
from fitwell.data.transforms import Preprocessing
from fitwell.data.variation import Augmentation
from fitwell.files import sha256_of_file
from fitwell.model.activations import activation_shelf
from fitwell.model.compute import Compute
from fitwell.model.engine import build_engine
from fitwell.model.freeze import set_trainable
from fitwell.model.network import build_network, create_backbone
from fitwell.recipe.phase import Stages
from fitwell.recipe.schema import Head
from fitwell.store import Store
from fitwell.training.phase_data import Frozen, RunData, cached_phase_data, feature_phase_data, image_phase_data

COMPUTE = Compute("cpu", "float32", "contiguous")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = build_network(create_backbone("test_efficientnet"), 3, Head(dropout=0.0))
    set_trainable(net, Stages(stages=1))
    return net.eval()


@pytest.fixture
def data(pictures):
    preprocessing = Preprocessing(32, "crop", 1.0, (0.5,) * 3, (0.5,) * 3, "bilinear")
    augmentation = Augmentation(rotate_degrees=10, flip="horizontal", crop_area=(0.7, 1.0))
    paths = tuple(sorted(str(path.relative_to(pictures)) for path in pictures.rglob("*.png")))
    hashes = tuple(sha256_of_file(pictures / path) for path in paths)
    train = ImageSource(pictures, paths[:20], preprocessing, augmentation, seed=3, sha256s=hashes[:20])
    val = ImageSource(pictures, paths[20:], preprocessing, None, seed=3, sha256s=hashes[20:])
    return RunData(train, val, batch_size=8, workers=0, seed=3)


def logits_by_image(phase, batches):
    with torch.inference_mode():
        return {
            int(i): row
            for inputs, indices in batches
            for i, row in zip(indices, phase.module(inputs.float()), strict=True)
        }


@pytest.fixture
def frozen(network, data, tmp_path):
    """The blocks below the boundary but one: another phase trains one block more."""

    def make(views, told=lambda done, total: None, engine="eager"):
        boundary = network.boundary() - 1
        prefix = network.prefix(boundary)
        shelf = activation_shelf(Store(tmp_path, 10**7), prefix, data.train.preprocessing, engine)
        return Frozen(boundary, views, engine, build_engine(engine, prefix, COMPUTE, (3, 32, 32)), shelf, told)

    return make


def unvaried(data):
    return replace(data, train=replace(data.train, augmentation=None))


def assert_close_to_half_a_step(found, expected):
    """Kept activations have the 11 bits of float16."""
    assert sorted(found) == sorted(expected)
    for image, row in expected.items():
        torch.testing.assert_close(found[image], row, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("engine", ["eager", "onnxruntime"])
def test_kept_activations_give_the_logits_of_the_whole_network(network, data, frozen, engine):
    phase = cached_phase_data(network, data, COMPUTE, frozen(views=2, engine=engine))
    varied, exact = image_phase_data(network, data), image_phase_data(network, unvaried(data))
    network.eval()
    for epoch, direct in ((0, exact), (1, varied)):
        expected = logits_by_image(direct, direct.train_batches(epoch, 0))
        assert_close_to_half_a_step(logits_by_image(phase, phase.train_batches(epoch, 0)), expected)
    expected = logits_by_image(varied, varied.val_batches())
    assert_close_to_half_a_step(logits_by_image(phase, phase.val_batches()), expected)


def test_a_phase_without_a_store_holds_the_features_of_the_evaluated_pictures(network, data):
    phase, exact = feature_phase_data(network, data, COMPUTE), image_phase_data(network, unvaried(data))
    network.requires_grad_(False)
    phase = feature_phase_data(network, data, COMPUTE)
    for epoch in (0, 3):
        expected = logits_by_image(exact, exact.train_batches(epoch, 0))
        found = logits_by_image(phase, phase.train_batches(epoch, 0))
        for image, row in expected.items():
            torch.testing.assert_close(found[image], row)


def test_features_that_are_not_held_give_the_same_logits(network, data, frozen):
    held, again = (
        cached_phase_data(network, data, COMPUTE, frozen(2), holds_features=holds) for holds in (True, False)
    )
    network.eval()
    assert len(again.module) == len(held.module) + 1
    for epoch in (0, 1):
        expected = logits_by_image(held, held.train_batches(epoch, 0))
        assert_close_to_half_a_step(logits_by_image(again, again.train_batches(epoch, 0)), expected)
    expected = logits_by_image(held, held.val_batches())
    assert_close_to_half_a_step(logits_by_image(again, again.val_batches()), expected)


def test_an_epoch_of_a_few_steps_sees_other_images_than_the_one_before(data):
    whole, capped = data.train_order(0), replace(data, most_steps=1)
    assert [len(batch) for batch in whole] == [8, 8, 4]
    assert [batch.tolist() for batch in capped.train_order(0)] == [whole[0].tolist()]
    assert set(capped.train_order(0)[0]) != set(capped.train_order(1)[0])
    assert len(capped.each_once().train_order(0)) == 3  # a search of heads sees all


def test_training_pictures_of_another_size_leave_those_of_val_as_they_are(network, data):
    phase = image_phase_data(network, data.with_train_size(16))
    assert next(phase.train_batches(0, 0))[0].shape == (8, 3, 16, 16)
    assert next(phase.val_batches())[0].shape[1:] == (3, 32, 32)


def test_epochs_cycle_through_the_views(network, data, frozen):
    phase = cached_phase_data(network, data, COMPUTE, frozen(views=2))
    first, second, third = (dict(sorted(logits_by_image(phase, phase.train_batches(e, 0)).items())) for e in (0, 1, 2))
    assert all(torch.allclose(first[image], third[image]) for image in first)
    assert not all(torch.allclose(first[image], second[image]) for image in first)


def test_skipped_batches_are_those_already_trained_on(network, data, frozen):
    for phase in (
        cached_phase_data(network, data, COMPUTE, frozen(views=1)),
        image_phase_data(network, data),
    ):
        whole = [indices.tolist() for _, indices in phase.train_batches(5, 0)]
        assert [indices.tolist() for _, indices in phase.train_batches(5, 2)] == whole[2:]


def test_a_view_is_computed_when_an_epoch_first_needs_it(network, data, frozen):
    told = []
    phase = cached_phase_data(network, data, COMPUTE, frozen(3, lambda done, total: told.append((done, total))))
    assert told == []
    for epoch in (0, 1, 3):
        list(phase.train_batches(epoch, 0))
    assert told == [(20, 20), (20, 20)]


def test_a_second_run_computes_nothing(network, data, frozen):
    list(cached_phase_data(network, data, COMPUTE, frozen(1)).train_batches(0, 0))
    told = []
    list(cached_phase_data(network, data, COMPUTE, frozen(1, lambda *done: told.append(done))).train_batches(0, 0))
    assert told == []
