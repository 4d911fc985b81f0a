from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fitwell.data.loader import ImageSource
from fitwell.data.transforms import Preprocessing
from fitwell.data.variation import Augmentation
from fitwell.errors import DataError, ResourceError
from fitwell.files import sha256_of_file
from fitwell.model.activations import activation_shelf, in_order, keep_activations
from fitwell.model.compute import Compute
from fitwell.model.engine import build_engine
from fitwell.store import Store

PREPROCESSING = Preprocessing(32, "crop", 1.0, (0.5,) * 3, (0.5,) * 3, "bilinear")


@pytest.fixture
def source(pictures):
    paths = tuple(sorted(str(path.relative_to(pictures)) for path in pictures.rglob("*.png")))
    hashes = tuple(sha256_of_file(pictures / path) for path in paths)
    return ImageSource(pictures, paths, PREPROCESSING, None, seed=3, sha256s=hashes)


@pytest.fixture
def prefix():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU())


@pytest.fixture
def keep(prefix, tmp_path):
    """Keep what the prefix makes of a source; the images that are computed for it are counted."""
    engine = build_engine("eager", prefix, Compute(), (3, 32, 32))
    before = 0

    def counting(done, total):
        nonlocal before
        kept.computed += done - before
        before = done % total

    def kept(source, epoch=0, cap_bytes=10**8, extract=engine):
        shelf = activation_shelf(Store(tmp_path / "store", cap_bytes), prefix, source.preprocessing, "eager")
        return keep_activations(source, epoch, shelf=shelf, extract=extract, workers=0, on_batch=counting)

    kept.computed = 0
    return kept


def straight(prefix, source, epoch=0):
    with torch.inference_mode():
        return prefix(torch.stack([source.load(image, epoch) for image in range(len(source))]))


def test_activations_are_those_of_the_prefix_to_the_precision_of_float16(keep, prefix, source):
    kept = keep(source)
    assert len(kept) == len(source)
    found = kept[np.array([5, 0, 33])]
    assert found.dtype == torch.float16
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.float(), straight(prefix, source)[[5, 0, 33]], rtol=1e-3, atol=1e-3)


def test_features_without_maps_are_kept_too(keep, source):
    flat = keep(source, extract=lambda images: images.mean(dim=(2, 3)))
    expected = torch.stack([source.load(image, 0) for image in (4, 2)]).mean(dim=(2, 3))
    torch.testing.assert_close(flat[np.array([4, 2])].float(), expected, rtol=1e-3, atol=1e-3)


def test_what_is_kept_is_not_computed_again(keep, source):
    keep(source)
    assert keep.computed == len(source) == 36
    keep(source)
    assert keep.computed == 36


def test_the_same_image_by_another_name_is_not_computed_again(keep, source, tmp_path):
    keep(source)
    Image.open(source.root / source.paths[0]).save(tmp_path / "copy.png")
    (tmp_path / "copy.png").write_bytes((source.root / source.paths[0]).read_bytes())
    again = keep(replace(source, root=tmp_path, paths=("copy.png",), sha256s=source.sha256s[:1]))
    assert keep.computed == 36
    assert torch.equal(again[np.array([0])], keep(source)[np.array([0])])


def test_views_differ_by_epoch_seed_and_augmentation(keep, prefix, source):
    varied = replace(source, augmentation=Augmentation(rotate_degrees=30))
    first = keep(varied, epoch=1)
    torch.testing.assert_close(first[np.arange(36)].float(), straight(prefix, varied, epoch=1), rtol=1e-3, atol=1e-3)
    others = (
        (varied, 2),
        (replace(varied, seed=4), 1),
        (replace(source, augmentation=Augmentation(rotate_degrees=10)), 1),
        (source, 1),
    )
    for other, epoch in others:
        before = keep.computed
        assert not torch.equal(keep(other, epoch)[np.arange(36)], first[np.arange(36)])
        assert keep.computed == before + 36


def test_other_weights_or_another_engine_or_size_have_another_shelf(prefix, tmp_path):
    store = Store(tmp_path, 10**6)
    shelf = activation_shelf(store, prefix, PREPROCESSING, "eager")
    shelf.append([b"k" * 16], np.zeros((1, 2), np.float16))

    def holds(*arguments):
        return activation_shelf(store, *arguments).get(b"k" * 16) is not None

    assert holds(prefix, PREPROCESSING, "eager")
    assert not holds(prefix, PREPROCESSING, "onnxruntime")
    assert not holds(prefix, replace(PREPROCESSING, size=48), "eager")
    assert not holds(nn.Sequential(*prefix, nn.ReLU()), PREPROCESSING, "eager")
    with torch.no_grad():
        prefix[0].bias[0] += 1e-6
    assert not holds(prefix, PREPROCESSING, "eager")


def test_a_damaged_activation_is_computed_again(keep, source, tmp_path):
    expected = keep(source)[np.arange(36)]
    (data,) = (tmp_path / "store").glob("*/data.bin")
    content = bytearray(data.read_bytes())
    content[100] ^= 1
    data.write_bytes(content)
    assert torch.equal(keep(source)[np.arange(36)], expected)
    assert keep.computed == 36 + 1


def test_a_split_computes_only_what_no_other_split_needed(keep, source):
    varied = replace(source, augmentation=Augmentation(rotate_degrees=30, flip="dihedral"))
    everything = keep(varied, epoch=1)
    for some in (np.arange(0, 36, 2), np.array([7, 3, 30])):
        part = replace(
            varied, paths=tuple(source.paths[i] for i in some), sha256s=tuple(source.sha256s[i] for i in some)
        )
        assert torch.equal(keep(part, epoch=1)[np.arange(len(some))], everything[some])
    assert keep.computed == 36


def test_activations_do_not_depend_on_what_else_was_missing(keep, source, tmp_path):
    batches = []
    whole = keep(source, extract=lambda images: batches.append(len(images)) or images.mean(dim=(2, 3)))
    assert batches == [32, 32]
    shelf = activation_shelf(Store(tmp_path / "other", 10**8), nn.Flatten(), PREPROCESSING, "eager")
    first = replace(source, paths=source.paths[20:23], sha256s=source.sha256s[20:23])
    for part in (first, source):
        parts = keep_activations(part, 0, shelf=shelf, extract=lambda images: images.mean(dim=(2, 3)), workers=0)
    assert torch.equal(parts[np.arange(36)], whole[np.arange(36)])


def test_a_full_store_stops_the_run_with_the_cure(keep, source):
    with pytest.raises(ResourceError, match=r"(?s)no room for further activations of 1,800 bytes.*limits.cache"):
        keep(source, cap_bytes=10_000)


def test_a_number_beyond_float16_is_refused_rather_than_kept_as_infinity(keep, source):
    with pytest.raises(ResourceError, match=r"(?s)an activation of 7e\+04.*execution.cache none"):
        keep(source, extract=lambda images: torch.full((len(images), 2), 7e4))


def test_an_image_that_vanished_is_an_error(keep, source):
    with pytest.raises(DataError, match="nowhere"):
        keep(replace(source, paths=("nowhere.png", *source.paths[1:])))


def test_in_order_covers_every_index_once():
    assert [batch.tolist() for batch in in_order(5, 2)] == [[0, 1], [2, 3], [4]]
    assert np.concatenate(in_order(100)).tolist() == list(range(100))
