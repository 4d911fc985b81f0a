from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fitwell.data.corruption import CORRUPTIONS, corrupt
from fitwell.data.split import read_split
from fitwell.errors import UsageError
from fitwell.evaluation.corrupted_run import require_one_class_an_image
from fitwell.evaluation.trained import load_trained
from fitwell.files import read_json

NUM_CORRUPTIONS = 24


@pytest.fixture
def judged(own_copy):
    return own_copy, own_copy.evaluate("test", corruptions=True)


def test_the_result_stands_beside_the_metrics_and_is_that_of_the_corrupted_pictures(judged):
    classifier, metrics = judged
    run, model = classifier.run, load_trained(classifier.run)
    written = read_json(run.robustness("test"))
    assert written == {"schema_version": 1, **metrics["robustness"]}
    assert written["clean"]["accuracy"] == metrics["metrics"]["accuracy"]
    images = read_split(run.split).query("split == 'test'")
    root = Path(run.read()["data"]["root"])
    logits = model.corrupted_logits(root, list(images["path"]), CORRUPTIONS, follow=lambda _: None)
    expected = (logits.argmax(axis=2) == images["label"].map(model.classes.index).to_numpy()[:, None]).mean(axis=0)
    found = [row["accuracy"]["value"] for each in written["corruptions"] for row in each["severities"]]
    np.testing.assert_allclose(found, expected)
    assert len(found) == NUM_CORRUPTIONS


def test_every_call_gives_the_same_numbers(judged):
    classifier, metrics = judged
    assert classifier.evaluate("test", corruptions=True)["robustness"] == metrics["robustness"]
    assert len(classifier.run.read()["test_openings"]) == 3


def test_sample_pictures_are_those_that_the_network_sees(judged):
    classifier, metrics = judged
    run = classifier.run
    pixels = load_trained(run).source(Path(run.read()["data"]["root"]), [metrics["robustness"]["example"]]).prepared(0)
    for name, severity, expected in [
        ("clean", 0, pixels),
        *((each.name, each.severity, corrupt(pixels, each)) for each in CORRUPTIONS),
    ]:
        shown = np.array(Image.open(run.corrupted_picture("test", name, severity))).astype(float)
        assert abs(shown.mean() - expected.mean()) < 8  # a JPEG of 32 pixels
    assert len(list(run.corrupted_picture("test", "clean", 0).parent.iterdir())) == NUM_CORRUPTIONS + 1


def test_an_evaluation_without_corruptions_leaves_none_of_before(judged):
    classifier, _ = judged
    assert "What if the pictures are worse?" in classifier.run.report_html.read_text()
    classifier.evaluate("test")
    assert not classifier.run.robustness("test").exists()
    assert "What if the pictures are worse?" not in classifier.run.report_html.read_text()


def test_images_of_several_classes_are_refused_with_a_reason(own_copy):
    require_one_class_an_image(own_copy.run, several=False)
    with pytest.raises(UsageError, match="balanced accuracy, which sets of classes do not have"):
        require_one_class_an_image(own_copy.run, several=True)
