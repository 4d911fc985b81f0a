import pytest

from fitwell.cli.app import run
from fitwell.files import read_json


def test_predict_without_an_image_says_what_to_give(capsys, tmp_path):
    assert run(["predict", str(tmp_path)]) == 2
    assert "fitwell predict RUN photo.jpg" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["evaluate"], ["predict", "photo.jpg"]])
def test_a_folder_that_is_no_run_is_refused(command, capsys, tmp_path):
    assert run([command[0], str(tmp_path), *command[1:]]) == 1
    assert "holds no run.json" in capsys.readouterr().err


def test_other_images_are_judged_under_corruptions_too(own_copy, pictures, capsys):
    assert run(["evaluate", str(own_copy.run.path), str(pictures), "--corruptions"]) == 0
    mean = read_json(own_copy.run.robustness(pictures.name))["mean"]
    printed, told = capsys.readouterr()
    assert "corruptions: 36/36 images, each in 24 versions\n" in told
    for label, entry in (
        ("under corruptions  balanced accuracy", mean["balanced_accuracy"]),
        ("a drop of", mean["drop"]["balanced_accuracy"]),
    ):
        low, high = entry["interval"]
        assert f"{label} {entry['value']:.3f}  (95 % interval {low:.3f} to {high:.3f})" in printed
    assert len(own_copy.run.read()["test_openings"]) == 1
