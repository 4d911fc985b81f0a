import pandas as pd
import pytest

from fitted_runs import HARD, with_targets
from fitwell.errors import RunError
from fitwell.evaluation.judge_run import judge_run
from fitwell.files import read_json


def test_every_opening_of_test_is_logged_and_of_val_is_not(own_copy):
    assert len(own_copy.run.read()["test_openings"]) == 1
    own_copy.evaluate("val")
    assert len(own_copy.run.read()["test_openings"]) == 1
    own_copy.evaluate("test")
    assert len(own_copy.run.read()["test_openings"]) == 2


def test_what_was_named_wrongly_is_kept_with_its_picture(own_copy, pictures):
    images = pd.DataFrame({"id": ["a", "b"], "path": ["red/00.png", "blue/00.png"], "label": ["blue", "blue"]})
    (found,) = judge_run(own_copy.run, "theirs", images, pictures)["mistakes"]["shown"]
    assert (found["id"], found["actual"], found["predicted"]) == ("a", "blue", "red")
    folder = own_copy.run.evaluation("theirs")
    assert read_json(folder / "metrics.json")["mistakes"]["shown"] == [found]
    assert (folder / found["picture"]).is_file()


def test_test_images_are_held_to_the_targets_of_the_recipe_and_val_images_are_not(own_copy):
    judged = with_targets(own_copy, HARD | {"memory": "20GB"}).evaluate("test")
    assert read_json(own_copy.run.evaluation("test") / "metrics.json")["targets"] == judged["targets"]
    verdicts = {row["target"]: row["verdict"] for row in judged["targets"]}
    assert verdicts["latency_milliseconds"] == verdicts["weights_size"] == verdicts["memory"] == "met"
    assert verdicts["auc"] == "not decidable"
    assert "Does it reach its targets?" in own_copy.run.report_html.read_text()
    assert "targets" not in own_copy.evaluate("val")


def test_what_the_owner_wrote_in_the_model_card_stays(own_copy):
    card, empty = own_copy.run.model_card, "<!-- yours: intended-use -->\n\n"
    card.write_text(card.read_text().replace(empty, "<!-- yours: intended-use -->\nFor colours.\n"))
    own_copy.evaluate("test")
    assert "<!-- yours: intended-use -->\nFor colours.\n<!-- end -->" in card.read_text()
    assert "it has been looked at 2 times" in card.read_text()


def test_with_a_broken_model_card_test_is_not_opened(own_copy):
    card = own_copy.run.model_card
    card.write_text(card.read_text().replace("<!-- end -->", "", 1))
    broken = card.read_text()
    with pytest.raises(RunError, match="“summary” has no end"):
        own_copy.evaluate("test")
    assert card.read_text() == broken
    assert len(own_copy.run.read()["test_openings"]) == 1
