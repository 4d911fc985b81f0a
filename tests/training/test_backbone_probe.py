import numpy as np
import pytest
import torch

from fitwell.classifier import prepare, read_dataset
from fitwell.data.decode import decode_image
from fitwell.model.weights import load_backbone
from fitwell.recipe.schema import Images, Model, Select
from fitwell.recipe.target import Target
from fitwell.store import Store
from fitwell.training.backbone_probe import BackboneProbe, ask
from fitwell.training.head_search import solve_heads
from fitwell.training.head_stack import HeadData
from fitwell.training.pictures import preprocessing_of
from hub_cache import fill_hub_cache
from pictures import evaluation_tensor, tiny_recipe, write_label_sets, write_pictures

NAME = "test_efficientnet"


@pytest.fixture
def weights(tmp_path, monkeypatch):
    return str(fill_hub_cache(tmp_path / "hub", monkeypatch, (NAME,))[NAME])


@pytest.fixture
def question(tmp_path):
    asked = tiny_recipe(model=Model(), images=Images(size=32), select=Select(metric="accuracy"))
    dataset = read_dataset(write_pictures(tmp_path / "set", per_class=40))
    return ask(prepare(dataset, asked), asked)


def test_the_probe_is_the_best_solved_head_on_the_frozen_features(question, weights, tmp_path):
    probe = BackboneProbe(NAME, weights, question, Store(tmp_path / "store", 10**9))
    judged = probe.judge(32)
    train, val = question.train.first(32), question.val.first(32)
    backbone, how = load_backbone(NAME, weights).eval(), preprocessing_of(probe._recipe)
    features = []
    for part in (train, val):
        pictures = [evaluation_tensor(decode_image(question.root / path), how) for path in part.images["path"]]
        with torch.no_grad():
            features.append(backbone(torch.stack(pictures)).half().float())
    data = HeadData(
        train_views=features[:1],
        train_labels=torch.from_numpy(train.labels),
        image_weights=torch.ones(32),
        val_features=features[1],
        val_labels=torch.from_numpy(val.labels),
        num_classes=3,
    )
    assert judged.value == pytest.approx(solve_heads(data, balanced=False, metric="accuracy").table[0]["val_value"])
    assert (judged.num_train, len(judged.labels), judged.units.noun) == (32, len(question.val.labels), "images")
    assert judged.interval().low <= judged.value <= judged.interval().high
    assert probe.images_per_second > 0


def test_a_larger_rung_computes_only_the_images_that_are_new(question, weights, tmp_path):
    probe = BackboneProbe(NAME, weights, question, Store(tmp_path / "store", 10**9))
    done = []
    object.__setattr__(probe._frozen, "on_batch", lambda count, total: done.append(total if count == total else 0))
    probe.judge(32)
    num_val = len(question.val.first(32).labels)
    assert sum(done) == 32 + num_val
    probe.judge(64)
    assert sum(done) == 64 + len(question.val.labels)


def test_groups_and_weights_of_a_table_count(tmp_path, weights):
    folder = write_pictures(tmp_path / "set", per_class=20)
    rows = [
        f"{path.relative_to(folder)},{path.parent.name},{path.stem},{1 + number % 3}"
        for number, path in enumerate(sorted(folder.glob("*/*.png")))
    ]
    (folder / "labels.csv").write_text("\n".join(["path,label,group,weight", *rows]))
    asked = tiny_recipe(model=Model(), images=Images(size=32), select=Select(metric="accuracy"))
    question = ask(prepare(read_dataset(folder / "labels.csv"), asked), asked)
    judged = BackboneProbe(NAME, weights, question, Store(tmp_path / "store", 10**9)).judge(32)
    assert judged.units.noun == "groups"
    assert np.isfinite(judged.resampled).all()


def test_several_classes_an_image_are_probed_by_their_mean_auc(tmp_path, weights):
    asked = tiny_recipe(model=Model(), images=Images(size=32), target=Target(kind="multi_label"))
    dataset = read_dataset(write_label_sets(tmp_path / "set", num_images=96), recipe=asked)
    question = ask(prepare(dataset, asked), asked)
    assert question.metric == "auc"
    judged = BackboneProbe(NAME, weights, question, Store(tmp_path / "store", 10**9)).judge(64)
    assert judged.interval().low <= judged.value <= judged.interval().high
