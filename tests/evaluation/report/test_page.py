import json
import re

import pytest

from fitwell.evaluation.report.page import write_report
from fitwell.evaluation.report.wording import (
    describe_robustness,
    format_interval,
    format_number,
)
from fitwell.files import to_json
from fitwell.run_folder import RunFolder
from html_page import Page
from reported_runs import RECIPE, judge, judge_corrupted, judge_sets, make_run, make_split


def test_the_page_says_the_verdict_first_and_then_what_it_rests_on(tmp_path):
    run = make_run(tmp_path)
    judge(run, "val")
    metrics = judge(run, "test")
    write_report(run)
    page = Page(run.report_html)
    auc = metrics["metrics"]["auc"]
    interval = "–".join(format_number(end) for end in auc["interval"])
    order = [
        "Better than guessing",
        f"Test AUC {auc['value']:.3f} (95 % CI {interval}, 30 images in 5 groups)",
        "Always answering “cat” would be right for 50",
        "majority baseline 0.500",
        "Where it is right and where it errs",
        "Does it work equally well everywhere?",
        "All evaluations of this run",
        "What it learned from, and what it was judged on",
        "How training went",
        "How it was trained",
        "Kept: epoch 2 of head, with the best validation AUC, 0.875.",
        "images.size auto 224 The weights were trained at it.",
        "fitwell train 'my birds' The command that repeats",
        f"fitwell train {run.split} --image-root '/pictures/my birds' --recipe {run.recipe}",
        "my birds, 90 images",
        "5a5a",
        "c0ffee",
    ]
    places = [page.text.find(text) for text in order]
    assert -1 not in places, order[places.index(-1)]
    assert places == sorted(places)
    assert page.tags.count("svg") == 4 + 7  # tiles; curves, rates, confusion, ROC, reliability, confidence, risk
    assert "head: 3 epochs; 9 s of computing." in page.text
    assert "Groups 5 5 5" in page.text


def test_the_page_says_how_sure_right_and_wrong_answers_are(tmp_path):
    run = make_run(tmp_path)
    spread = judge(run)["confidence_distribution"]["all"]
    write_report(run)
    numbers = " ".join(
        f"{spread[answer]['num_images']} {format_number(spread[answer]['median'])}" for answer in ("right", "wrong")
    )
    assert f"All {numbers}" in Page(run.report_html).text


def test_the_page_holds_no_script_and_asks_nothing_of_the_network(tmp_path):
    run = make_run(tmp_path)
    judge(run)
    write_report(run)
    page = Page(run.report_html)
    assert not {"script", "link", "iframe", "img", "object", "embed", "form"} & set(page.tags)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert ("content", policy) in page.attributes
    links = [value for name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert not re.search(r"@import|url\((?!#)", run.report_html.read_text())
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_the_page_shows_what_corruptions_cost_with_named_pictures_inside_the_page(tmp_path):
    run = make_run(tmp_path)
    judge(run, gain=4.0)
    found = judge_corrupted(run)
    write_report(run)
    page = Page(run.report_html)
    for text in (*describe_robustness(found), "gaussian noise, severity 1", "<i>000.png as the network sees it"):
        assert text in page.text
    row = found["corruptions"][0]["severities"][0]["per_class"][0]
    low, high = (format_number(end) for end in row["drop"]["interval"])
    told = " ".join(format_number(each) for each in (row["clean"], row["corrupted"], row["drop"]["value"]))
    assert f"cat {told} {low} to {high}" in page.text
    alts = [value for name, value in page.attributes if name == "alt"]
    assert alts[:2] == ["The image as it is", "The image under gaussian noise, severity 1"]
    sources = [value for name, value in page.attributes if name == "src"]
    assert len(alts) == len(sources) == 5
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "base64" not in run.report_json.read_text()


def test_ids_on_the_page_are_distinct(tmp_path):
    run = make_run(tmp_path)
    judge(run)
    write_report(run)
    ids = [value for name, value in Page(run.report_html).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_names_of_strangers_are_shown_and_never_become_tags(tmp_path):
    classes = ("<img src=x onerror=alert(1)>", '"><script>alert(2)</script>', "$x^2$ {{ 7 * 7 }}")
    images = make_split(classes)
    run = make_run(tmp_path, images=images, name="<script>alert(3)</script>", command=["<b>", "x"])
    judge(run, images=images)
    write_report(run)
    page = Page(run.report_html)
    assert not {"script", "img", "b"} & set(page.tags)
    for name in (*classes, "<script>alert(3)</script>", "<b>field</b>"):
        assert name in page.text


def test_what_was_found_about_the_images_is_told(tmp_path):
    run = make_run(tmp_path)
    record = {"code": "DATA404", "severity": "warning", "message": "Neighbours are <alike>.", "fix": "Give groups."}
    run.findings.write_text(to_json(record) + "\n")
    write_report(run)
    page = Page(run.report_html)
    assert "What was found about the images" in page.text
    assert "warning DATA404 Neighbours are <alike>. Give groups." in page.text


def test_a_slice_of_few_images_is_grey(tmp_path):
    run = make_run(tmp_path)
    metrics = judge(run)
    assert [row["enough"] for row in metrics["slices"]] == [False, True]
    write_report(run)
    assert run.report_html.read_text().count('<tr class="few">') == 1


def test_a_searched_head_has_no_picture_of_learning_rates(tmp_path):
    run = make_run(tmp_path)
    run.history.write_text(run.history.read_text().replace('"learning_rate": {"head": 0.001}', '"learning_rate": {}'))
    write_report(run)
    page = Page(run.report_html)
    assert page.text.count("How it was trained") == 1
    assert "None" not in page.text


@pytest.mark.parametrize(
    ("state", "record", "expected"),
    [
        ("running", None, "The run is not finished, so there is no evaluation."),
        ("created", None, "The run is not finished, so there is no evaluation."),
        ("interrupted", {"code": 130, "reason": "Ctrl-C"}, "The run was interrupted, so there is no evaluation."),
        ("failed", {"code": 1, "reason": "loss <NaN>"}, "The run failed, so there is no evaluation."),
        ("finished", {"code": 0, "reason": "finished"}, "no images have been judged, so nothing is claimed"),
    ],
)
def test_a_run_without_evaluation_has_a_page_that_claims_nothing(tmp_path, state, record, expected):
    run = make_run(tmp_path, state=state, exit=record)
    write_report(run)
    page = Page(run.report_html)
    assert "Not judged yet" in page.text
    assert expected in page.text
    assert "How it was trained" in page.text
    assert ("fitwell resume" in page.text) == (state in ("interrupted", "failed"))
    assert ("fitwell evaluate" in page.text) == (state == "finished")
    if record and record["code"]:
        assert f"Why it ended {record['reason']}" in page.text
    assert json.loads(run.report_json.read_text())["verdict"] is None


def test_a_run_that_only_just_began_has_a_page(tmp_path):
    run = RunFolder(tmp_path)
    run.update(state="created")
    write_report(run)
    page = Page(run.report_html)
    assert "Not judged yet" in page.text
    assert "No epoch is recorded yet." in page.text
    assert "svg" not in page.tags


def test_validation_alone_is_called_optimistic(tmp_path):
    run = make_run(tmp_path)
    judge(run, "val")
    write_report(run)
    text = Page(run.report_html).text
    assert "Validation AUC 0." in text
    assert "somewhat optimistic; test images have not been judged yet" in text


def test_a_second_look_at_the_test_images_is_shown(tmp_path):
    run = make_run(tmp_path, test_openings=[{"time": "a"}, {"time": "b"}])
    judge(run)
    write_report(run)
    assert "The test images have been looked at 2 times." in Page(run.report_html).text


def test_more_than_two_classes_are_headed_by_balanced_accuracy_and_have_no_roc(tmp_path):
    images = make_split(("cat", "dog", "owl"), groups=False)
    run = make_run(tmp_path, images=images)
    judge(run, images=images)
    write_report(run)
    page = Page(run.report_html)
    assert "Test balanced accuracy 0." in page.text
    assert "guessing would reach 33.3." in page.text
    assert "AUC, against the rest" in page.text
    assert "Every image counts as independent: no groups were given." in page.text
    assert page.tags.count("svg") == 4 + 6


def test_the_page_says_what_the_threshold_of_val_promised_and_what_it_keeps_on_test(tmp_path):
    run = make_run(tmp_path)
    promised = judge(run, "val")["operating_point"]
    kept = judge(run, gain=1.0)["operating_point"]
    write_report(run)
    text = Page(run.report_html).text
    threshold = format_number(promised["threshold"])
    assert f"at least {threshold}: threshold chosen on 30 val images by the rule “youden”." in text
    assert "Where it was chosen: Validation Realised: Test (95 % CI)" in text
    for name in ("sensitivity", "specificity"):
        assert f"{name} {promised['here'][name]['value']:.3f} {kept['here'][name]['value']:.3f} " in text
    assert f"Of 15 “dog” images {kept['here']['true_positive']} are called so" in text
    assert "0.1 % 1 % 5 % 10 % 20 % 50 %" in text
    assert json.loads(run.report_json.read_text())["promised"] == promised["here"]


def test_a_rule_that_finds_no_threshold_is_told(tmp_path):
    run = make_run(tmp_path)
    run.recipe.write_text(RECIPE + "judge: {operating_point: precision >= 1}\n")
    judge(run, "val", gain=0)
    write_report(run)
    text = Page(run.report_html).text
    assert "The rule “precision >= 1” finds no threshold on the 30 val images: no threshold better" in text
    assert "Realised" not in text


def test_calibration_stands_beside_that_of_a_perfect_model(tmp_path):
    run = make_run(tmp_path)
    judge(run, "val")
    calibration = judge(run)["calibration"]
    write_report(run)
    text = Page(run.report_html).text
    plain, tempered = calibration["plain"]["ece"], calibration["tempered"]["ece"]
    shown = f"ECE, 15 bins of equal width {plain['value']:.3f} {plain['perfect']['mean']:.3f} "
    assert shown in text
    assert f"{tempered['value']:.3f} {tempered['perfect']['mean']:.3f} " in text
    assert f"Temperature {calibration['temperature']['value']:.3g}, fitted on 30 val images" in text


def test_what_abstaining_is_worth_and_sets_stand_on_the_page(tmp_path):
    images = make_split(num_images=600)
    run = make_run(tmp_path, images=images)
    judge(run, "val", images=images, gain=4)
    found = judge(run, images=images, gain=4)
    write_report(run)
    text = Page(run.report_html).text
    kept, sets = found["selective"]["thresholds"][2], found["conformal"]["variants"][0]
    assert "If it may leave the hardest images to somebody else" in text
    assert f"10 % {kept['threshold']:.3f} {kept['coverage']:.0%}" in text
    assert "1 % val has too few images, or too many errors, to promise it" in text
    assert f"LAC {format_number(sets['coverage']['value'])}" in text
    assert "images of a group are alike: for a new group the promise holds roughly" in text


def test_before_val_is_judged_no_confidence_is_chosen(tmp_path):
    run = make_run(tmp_path)
    judge(run)
    write_report(run)
    text = Page(run.report_html).text
    assert "Of the surest 90 % of the images" in text
    assert "At most wrong" not in text
    assert "Sets that hold the right class" not in text


def test_without_val_there_is_no_temperature_yet(tmp_path):
    run = make_run(tmp_path)
    judge(run)
    write_report(run)
    text = Page(run.report_html).text
    assert f"Val fits it: fitwell evaluate {run.path} --split val" in text
    assert "With one threshold" not in text


def test_further_metrics_are_explained(tmp_path):
    run = make_run(tmp_path)
    metrics = judge(run)["metrics"]
    write_report(run)
    entry = metrics["sensitivity_at_95_specificity"]
    shown = f"sensitivity at 95 % specificity {entry['value']:.3f} {format_interval(entry['interval'])} best point"
    assert shown in Page(run.report_html).text


def test_step_records_draw_the_learning_rate_where_there_are_some(tmp_path):
    run = make_run(tmp_path, epochs=1)
    steps = [{"kind": "step", "phase": "head", "epoch": 1, "step": s, "learning_rate": {"head": s}} for s in (1, 777)]
    with run.history.open("a") as file:
        file.write("".join(to_json(step) + "\n" for step in steps))
    write_report(run)
    assert ">800<" in run.report_html.read_text()


def test_of_several_classes_an_image_the_page_shows_each_with_its_threshold(run_of_sets):
    run, images = run_of_sets
    judge_sets(run, images, "val")
    metrics = judge_sets(run, images, "test")
    write_report(run)
    text = " ".join(Page(run.report_html).text.split())
    assert "Confusion matrix" not in text
    for row in metrics["per_class"]:
        assert f"{row['class']} {row['support']} {format_number(row['threshold'])} " in text
    assert "the one with the largest F1 on validation images, never on test" in text
    none = int((images[images["split"] == "test"]["label"] == "").sum())
    assert f"of which {none} show none of the classes" in text
    assert "Exact match (95 % CI)" in text  # of the slices


def test_how_training_went_stands_on_the_page_with_what_limits_it(tmp_path):
    run = make_run(tmp_path)
    write_report(run)
    text = Page(run.report_html).text
    shown = [
        "How training went No sign of overfitting or underfitting.",
        "In the last epoch val accuracy (0.500) was not clearly below train accuracy (0.500)",
        "Val loss was lowest in epoch 3 of head (0.333) and ended at 0.333",
        "Kept: epoch 2 of head Last: epoch 3 of head",
        "Train accuracy less val accuracy 0.000 0.000",
        "Not told: of val AUC no standard error follows from these records.",
        "2 epochs came after the best one and took 6.0 s, 67% of the time.",
        "They are in 5 groups of images that are alike",
    ]
    assert [words for words in shown if words not in text] == []


def test_what_a_test_would_tell_is_a_command_with_its_evidence(tmp_path):
    run = make_run(tmp_path)
    records = [json.loads(line) for line in run.history.read_text().splitlines()]
    for record in records:
        record["val_per_class"] = {"cat": 0.4, "dog": 0.6}
    run.history.write_text("".join(to_json(record) + "\n" for record in records))
    write_report(run)
    text = Page(run.report_html).text
    assert "A test of --balance.class_weights none --balance.sampler balanced would tell whether it is learned" in text
    assert "No epoch found more of “cat” than guessing would." in text
    assert "In epoch 1 of head: the first whose val AUC lies within one standard error (0." in text


def test_before_an_epoch_is_done_nothing_is_said_about_training(tmp_path):
    run = make_run(tmp_path)
    run.history.write_text("")
    write_report(run)
    assert "How training went" not in Page(run.report_html).text
    assert json.loads(run.report_json.read_text())["analysis"] is None


@pytest.mark.parametrize(
    ("epochs", "words"),
    [(1, "1 recorded epoch is too few"), (2, "2 recorded epochs are too few"), (3, "Not told: of val AUC")],
)
def test_of_fewer_than_three_epochs_no_convergence_is_told(tmp_path, epochs, words):
    run = make_run(tmp_path, epochs=epochs)
    write_report(run)
    assert f"When it converged {words}" in Page(run.report_html).text


def test_an_epoch_kept_within_the_noise_of_the_highest_auc_is_not_called_the_best(tmp_path):
    chosen = {"metric": "auc", "keep": "best", "best": {"phase": "head", "epoch": 3, "step": 12, "value": 0.45}}
    run = make_run(tmp_path, select=chosen)
    judge(run, "test")
    write_report(run)
    assert (
        "Kept: epoch 3 of head, with the best balanced accuracy of those whose validation AUC, here 0.450, lies within "
        "one standard error of the highest."
    ) in Page(run.report_html).text
    assert (
        "Of the epochs within one standard error of the highest val AUC the one with the best balanced accuracy was "
        "kept: epoch 3 of head, 0.450."
    ) in run.model_card.read_text(encoding="utf-8")


def test_where_the_last_epoch_is_kept_val_is_said_to_choose_other_things(tmp_path):
    chosen = {"metric": "auc", "keep": "last", "best": {"phase": "head", "epoch": 3, "step": 12, "value": 0.75}}
    run = make_run(tmp_path, select=chosen)
    judge(run, "val")
    judge(run, "test")
    write_report(run)
    text = Page(run.report_html).text
    assert "Kept: epoch 3 of head, the last, as recipe.yaml has it; its validation AUC is 0.750." in text
    assert "Validation chooses the threshold and the temperature." in text
    assert "chose the epoch" not in text
