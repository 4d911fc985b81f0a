import pytest

from fitwell.cli.app import run


def test_predict_without_an_image_says_what_to_give(capsys, tmp_path):
    assert run(["predict", str(tmp_path)]) == 2
    assert "fitwell predict RUN photo.jpg" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["evaluate"], ["predict", "photo.jpg"]])
def test_a_folder_that_is_no_run_is_refused(command, capsys, tmp_path):
    assert run([command[0], str(tmp_path), *command[1:]]) == 1
    assert "holds no run.json" in capsys.readouterr().err
