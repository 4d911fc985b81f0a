import json

from fitwell.evaluation.report.collect import collect
from fitwell.evaluation.report.page import write_report
from fitwell.evaluation.report.wording import describe_verdict
from fitwell.files import write_json
from reported_runs import RECIPE, judge, judge_corrupted, make_run


def test_report_json_holds_what_the_page_shows(tmp_path):
    run = make_run(tmp_path)
    metrics = judge(run)
    write_report(run)
    content = json.loads(run.report_json.read_text())
    assert content["schema_version"] == 1
    assert content["headline"] == "test"
    assert content["verdict"] == describe_verdict(metrics)
    assert content["evaluations"]["test"]["metrics"] == metrics["metrics"]
    assert content["split"]["totals"] == {"train": 30, "val": 30, "test": 30}
    assert content["recipe"]["resolved"][0]["key"] == "images.size"
    assert "resolved" not in content["recipe"]["text"]


def test_the_worst_corruption_is_that_of_the_largest_drop(tmp_path):
    run = make_run(tmp_path)
    judge(run)
    found = judge_corrupted(run)
    found["corruptions"][1]["severities"][1]["drop"]["balanced_accuracy"]["value"] = 0.9
    write_json(run.robustness("test"), found)
    worst = collect(run)["robustness"]["worst"]
    assert (worst["name"], worst["severity"]) == ("shift", 2)


def test_corruptions_are_told_of_other_images_where_test_was_not_asked_for_them(tmp_path):
    run = make_run(tmp_path)
    judge(run, "val")
    judge(run, "test")
    judge_corrupted(run, split="val")
    assert collect(run)["robustness"]["split"] == "val"


def test_an_epoch_trained_again_after_a_resume_counts_once(tmp_path):
    run = make_run(tmp_path)
    with run.history.open("a") as file:
        file.write(run.history.read_text().splitlines()[-1] + "\n")
    write_report(run)
    assert len(json.loads(run.report_json.read_text())["epochs"]) == 3


def test_the_split_counts_every_class_that_an_image_shows(run_of_sets):
    run, images = run_of_sets
    write_report(run)
    rows = json.loads(run.report_json.read_text())["split"]["rows"]
    in_train = images[images["split"] == "train"]["label"]
    assert [(row["class"], row["train"]) for row in rows] == [
        (name, int(in_train.str.contains(name).sum())) for name in ("cat", "dog")
    ]


def test_of_a_limited_val_only_the_judged_images_count(tmp_path):
    run = make_run(tmp_path)
    history = run.history.read_text()
    run.history.write_text(history.replace('"best"', '"val_per_class": {"cat": 0.5, "dog": 0.5}, "best"'))
    for most, judged in ((10, 5), (30, 15), (31, 15)):
        run.recipe.write_text(RECIPE + f"limits: {{val_images: {most}}}\n")
        assert [row["num_val"] for row in collect(run)["analysis"]["classes"]] == [judged, judged]
