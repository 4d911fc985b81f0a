import torch

from fitwell.data.index import index_dataset
from fitwell.data.loader import ImageSource
from fitwell.training.prepare import prepare_run
from fitwell.training.trial_pictures import MOST, trial_pictures
from pictures import tiny_recipe, write_pictures


def test_a_trial_takes_training_pictures_evenly_as_evaluation_sees_them(pictures):
    prepared = prepare_run(index_dataset(pictures), tiny_recipe())
    trial = trial_pictures(prepared.dataset.root, prepared.images, prepared.recipe)
    train = prepared.images.loc[prepared.images["split"] == "train", "path"].tolist()
    assert list(trial.source.paths) == train
    first, last = trial.load(2)
    torch.testing.assert_close(first, trial.source.load(0, epoch=0))
    torch.testing.assert_close(last, trial.source.load(len(train) - 1, epoch=7))


def test_where_there_are_too_few_pictures_some_come_again(tmp_path):
    prepared = prepare_run(index_dataset(write_pictures(tmp_path, per_class=5)), tiny_recipe())
    trial = trial_pictures(prepared.dataset.root, prepared.images, prepared.recipe)
    assert len(trial.source) < MOST
    many = trial.load(MOST)
    assert len(many) == MOST
    assert len(torch.unique(many, dim=0)) == len(trial.source)


def test_a_picture_is_decoded_once_however_often_it_is_tried(pictures, monkeypatch):
    prepared = prepare_run(index_dataset(pictures), tiny_recipe())
    trial = trial_pictures(prepared.dataset.root, prepared.images, prepared.recipe)
    decoded, decode = [], ImageSource.load

    def counted(source, image, epoch):
        decoded.append(image)
        return decode(source, image, epoch)

    monkeypatch.setattr(ImageSource, "load", counted)
    for count in (MOST, 8, 4):
        assert len(trial.load(count)) == count
    assert len(decoded) == len(set(decoded)) == MOST


def test_what_agreed_for_other_images_is_not_taken_for_these(pictures):
    prepared = prepare_run(index_dataset(pictures), tiny_recipe())
    changed = prepared.images.assign(sha256=["0" * 64, *prepared.images["sha256"].tolist()[1:]])
    both = [trial_pictures(prepared.dataset.root, each, prepared.recipe) for each in (prepared.images, changed)]
    assert both[0].fingerprint != both[1].fingerprint
