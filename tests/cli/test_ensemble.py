from fitwell.cli.app import run


def test_a_folder_that_is_no_run_is_no_member(capsys, tmp_path):
    assert run(["ensemble", str(tmp_path), str(tmp_path)]) == 1
    assert "holds no run.json" in capsys.readouterr().err


def test_no_run_at_all_says_what_to_give(capsys):
    assert run(["ensemble"]) == 2
    assert "fitwell ensemble RUN RUN" in capsys.readouterr().err
