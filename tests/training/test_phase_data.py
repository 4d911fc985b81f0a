import numpy as np
import pytest
import torch

from fitwell.data.loader import ImageSource
from fitwell.data.transforms import Augmentation, Preprocessing
from fitwell.model.compute import Compute
from fitwell.model.freeze import set_trainable
from fitwell.model.network import build_network, create_backbone
from fitwell.recipe.schema import Stages
from fitwell.training.phase_data import (
    RunData,
    affordable_views,
    cached_phase_data,
    fill_cache,
    free_memory_bytes,
    image_phase_data,
    in_order,
)

COMPUTE = Compute("cpu", "float32", "contiguous")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = build_network(create_backbone("test_efficientnet"), num_classes=3, dropout=0.0)
    set_trainable(net, Stages(stages=1))
    return net


@pytest.fixture
def data(pictures):
    preprocessing = Preprocessing(32, "crop", 1.0, (0.5,) * 3, (0.5,) * 3, "bilinear")
    augmentation = Augmentation(rotate_degrees=10, flip="horizontal", crop_area=(0.7, 1.0))
    paths = tuple(sorted(str(path.relative_to(pictures)) for path in pictures.rglob("*.png")))
    train = ImageSource(root=pictures, paths=paths[:20], preprocessing=preprocessing, augmentation=augmentation, seed=3)
    val = ImageSource(root=pictures, paths=paths[20:], preprocessing=preprocessing, augmentation=None, seed=3)
    return RunData(train, val, batch_size=8, workers=0, seed=3)


def logits_by_image(phase, batches):
    with torch.inference_mode():
        return {
            int(i): row for inputs, indices in batches for i, row in zip(indices, phase.module(inputs), strict=True)
        }


def cached(network, data, views):
    boundary = network.boundary() - 1  # another phase trains one block more
    cache = fill_cache(network, data, COMPUTE, boundary=boundary, views=views, on_batch=lambda done, total: None)
    return cached_phase_data(network, data, COMPUTE, cache)


def test_cached_activations_give_the_logits_of_the_whole_network(network, data):
    phase = cached(network, data, views=2)
    direct = image_phase_data(network, data)
    network.eval()
    for epoch in (0, 1):
        expected = logits_by_image(direct, direct.train_batches(epoch, 0))
        found = logits_by_image(phase, phase.train_batches(epoch, 0))
        assert sorted(found) == list(range(20))
        for image, row in expected.items():
            torch.testing.assert_close(found[image], row)
    expected = logits_by_image(direct, direct.val_batches())
    for image, row in logits_by_image(phase, phase.val_batches()).items():
        torch.testing.assert_close(row, expected[image])


def test_epochs_cycle_through_the_views(network, data):
    phase = cached(network, data, views=2)
    first, second, third = (dict(sorted(logits_by_image(phase, phase.train_batches(e, 0)).items())) for e in (0, 1, 2))
    assert all(torch.allclose(first[image], third[image]) for image in first)
    assert not all(torch.allclose(first[image], second[image]) for image in first)


def test_skipped_batches_are_those_already_trained_on(network, data):
    for phase in (
        cached(network, data, views=1),
        image_phase_data(network, data),
    ):
        whole = [indices.tolist() for _, indices in phase.train_batches(5, 0)]
        assert [indices.tolist() for _, indices in phase.train_batches(5, 2)] == whole[2:]


def test_extraction_tells_how_far_it_is(network, data):
    told = []
    fill_cache(network, data, COMPUTE, boundary=2, views=3, on_batch=lambda done, total: told.append((done, total)))
    assert told == [(20, 76), (40, 76), (60, 76), (76, 76)]


def test_views_are_as_many_as_memory_allows(network, data):
    with torch.inference_mode():
        floats = network.prefix(4)(torch.zeros(1, 3, 32, 32)).numel()
    free = int((16 + 2 * 20) * floats * 4 / 0.4) + 100  # val, and two views of train
    assert affordable_views(network, data, boundary=4, asked=4, free_bytes=free) == 2
    assert affordable_views(network, data, boundary=4, asked=1, free_bytes=free) == 1
    assert affordable_views(network, data, boundary=4, asked=4, free_bytes=0) == 0


def test_free_memory_is_a_plausible_number_of_bytes():
    assert 2**20 < free_memory_bytes() < 2**50


def test_in_order_covers_every_index_once():
    assert [batch.tolist() for batch in in_order(5, 2)] == [[0, 1], [2, 3], [4]]
    assert np.concatenate(in_order(100)).tolist() == list(range(100))
