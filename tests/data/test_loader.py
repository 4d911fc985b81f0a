import hashlib
import multiprocessing
import signal
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from fitwell.data.decode import decode_image
from fitwell.data.loader import ImageSource, epoch_batches, image_seed, load_batches
from fitwell.data.transforms import Preprocessing, training_tensor
from fitwell.data.variation import Augmentation
from fitwell.errors import DataError, ResourceError
from fitwell.files import sha256_of_file
from pictures import evaluation_tensor

PREPROCESSING = Preprocessing(24, "crop", 0.875, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), "bicubic")
VARIED = Augmentation(
    rotate_degrees=20, flip="both", crop_area=(0.5, 1.0), brightness=0.3, contrast=0.3, hue=0.1, erase_probability=0.5
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number in range(11):
        Image.fromarray(random.integers(0, 256, (30, 26, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "bad.png").write_bytes(b"not an image")
    return folder


def source(root, augmentation=VARIED, seed=5, paths=None):
    names = tuple(f"{number}.png" for number in range(11)) if paths is None else paths
    return ImageSource(root, names, PREPROCESSING, augmentation, seed)


def load(images, batches, epoch=0, workers=0):
    return list(load_batches(images, batches, epoch=epoch, workers=workers))


def test_seeds_are_stable_and_differ_in_each_argument():
    assert image_seed(0, 0, 0) == int.from_bytes(hashlib.blake2b(bytes(24), digest_size=8).digest(), "little") >> 1
    seeds = {image_seed(seed, epoch, image) for seed in range(10) for epoch in range(10) for image in range(-1, 100)}
    assert len(seeds) == 10 * 10 * 101
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    ("num_images", "batch_size", "sizes"),
    [
        (10, 4, [4, 4, 2]),
        (8, 4, [4, 4]),
        (9, 4, [4, 5]),
        (1, 4, [1]),
        (3, 8, [3]),
        (3, 1, [1, 1, 1]),
        (5, 2, [2, 3]),
        (0, 4, []),
    ],
)
def test_batches_hold_every_image_once_and_no_lone_last_one(num_images, batch_size, sizes):
    batches = epoch_batches(num_images, batch_size, seed=0, epoch=0)
    assert [len(batch) for batch in batches] == sizes
    assert sorted(image for batch in batches for image in batch.tolist()) == list(range(num_images))
    assert all(batch.dtype == np.int64 for batch in batches)


def test_the_order_is_new_in_each_epoch_and_follows_the_seed():
    def order(seed, epoch):
        return np.concatenate(epoch_batches(50, 8, seed=seed, epoch=epoch)).tolist()

    orders = [order(0, 0), order(0, 1), order(0, 2), order(1, 0)]
    assert all(first != second for first, second in pairwise(orders))
    assert order(0, 1) == orders[1]


def test_without_augmentation_the_evaluation_picture_is_loaded(root):
    images = source(root, augmentation=None)
    assert len(images) == 11
    [(tensor, indices)] = load(images, [np.array([3, 1])])
    expected = [evaluation_tensor(decode_image(root / f"{number}.png"), PREPROCESSING) for number in (3, 1)]
    assert tensor.equal(torch.stack(expected))
    assert indices.tolist() == [3, 1]
    assert (tensor.shape, tensor.dtype) == ((2, 3, 24, 24), torch.float32)


def test_the_randomness_of_an_image_without_a_hash_is_that_of_its_seed_epoch_and_number(root):
    [(tensor, _)] = load(source(root), [np.array([3, 1])], epoch=4)
    for row, number in enumerate((3, 1)):
        pixels = np.array(decode_image(root / f"{number}.png"))
        assert tensor[row].equal(training_tensor(pixels, PREPROCESSING, VARIED, image_seed(5, 4, number)))
    assert not load(source(root), [np.array([3, 1])], epoch=5)[0][0].equal(tensor)


def test_the_randomness_of_an_image_with_a_hash_is_the_same_in_every_split(root):
    hashes = tuple(sha256_of_file(root / f"{number}.png") for number in range(11))
    whole = replace(source(root), sha256s=hashes)
    part = replace(whole, paths=whole.paths[3:5], sha256s=hashes[3:5])
    assert part.variation_seed(1, 2) == whole.variation_seed(4, 2) == image_seed(5, 2, int(hashes[4][:15], 16))
    assert len({whole.variation_seed(image, 2) for image in range(11)}) == 11


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("augmentation", [VARIED, None])
def test_the_number_of_workers_does_not_change_a_bit(root, workers, augmentation):
    batches = epoch_batches(11, 3, seed=0, epoch=1)
    expected = load(source(root, augmentation), batches, epoch=1)
    found = load(source(root, augmentation), batches, epoch=1, workers=workers)
    assert len(found) == len(expected) == 4
    for (tensor, indices), (tensor_found, indices_found), batch in zip(expected, found, batches, strict=True):
        assert tensor.equal(tensor_found)
        assert isinstance(indices_found, np.ndarray)
        assert indices.tolist() == indices_found.tolist() == batch.tolist()


@pytest.mark.parametrize("workers", [0, 1])
def test_the_global_random_state_is_left_alone(root, workers):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    load(source(root), epoch_batches(11, 3, seed=0, epoch=0), workers=workers)
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_damaged_image_is_the_same_error_from_every_process(root, workers):
    images = source(root, paths=("0.png", "bad.png", "2.png"))
    batches = load_batches(images, [np.array([0, 2]), np.array([2, 1])], epoch=0, workers=workers)
    assert next(batches)[1].tolist() == [0, 2]
    with pytest.raises(DataError) as caught:
        next(batches)
    assert caught.value.found == f"{root / 'bad.png'} begins like no image."
    assert caught.value.expected.startswith("a whole image of one of the formats JPEG")
    assert caught.value.fix.startswith("Convert what is an image")


@pytest.mark.parametrize("workers", [0, 1])
def test_no_batches_yield_nothing(root, workers):
    assert load(source(root), [], workers=workers) == []


def test_leaving_early_ends_the_workers(root):
    batches = load_batches(source(root), epoch_batches(11, 2, seed=0, epoch=0), epoch=0, workers=1)
    next(batches)
    assert len(multiprocessing.active_children()) == 1
    batches.close()
    assert multiprocessing.active_children() == []


def test_a_killed_worker_is_a_named_error(root):
    batches = load_batches(source(root), [np.array([0])] * 50, epoch=0, workers=1)
    next(batches)
    [worker] = multiprocessing.active_children()
    worker.kill()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    with pytest.raises(ResourceError) as caught:
        list(batches)
    assert caught.value.found.startswith("a process that loads images ended: DataLoader worker (pid")
    assert caught.value.expected == "enough memory, also shared memory (/dev/shm), for every worker."
    assert caught.value.fix == "use fewer workers; --execution.workers 0 needs none."


def test_other_faults_are_not_mistaken_for_a_dead_worker(root):
    class Broken(ImageSource):
        def load(self, image, epoch, *, out=None):
            raise RuntimeError("our bug")

    broken = Broken(root, ("0.png",), PREPROCESSING, None, 0)
    with pytest.raises(RuntimeError, match="our bug"):
        load(broken, [np.array([0])], workers=1)


def test_images_are_drawn_again_and_again_by_their_shares():
    shares = np.repeat([0.5 / 90, 0.5 / 10], [90, 10])
    drawn = np.concatenate([np.concatenate(epoch_batches(100, 8, seed=0, epoch=e, shares=shares)) for e in range(50)])
    assert len(drawn) == 50 * 100
    assert (drawn >= 90).mean() == pytest.approx(0.5, abs=0.03)  # deviation of 5,000 draws: 0.007
    again = np.concatenate(epoch_batches(100, 8, seed=0, epoch=0, shares=shares))
    np.testing.assert_array_equal(drawn[:100], again)
