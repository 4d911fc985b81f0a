import re

import pytest
from markdown_it import MarkdownIt

from fitwell.errors import RunError
from fitwell.evaluation.report.model_card import OWN_TEXTS, escape_markdown, read_checklists
from fitwell.evaluation.report.page import write_report
from fitwell.evaluation.report.wording import format_interval, format_number
from reported_runs import RECIPE, judge, judge_sets, make_run, make_split

STRANGE = ("a|b `c` *d* _e_ <f>", "[g](h) ~i~ # $j$ @k \\ &amp;", "<!-- end -->")


class Card:
    """A card as a reader sees it: its cells, table rows and code, of whatever is Markdown there."""

    def __init__(self, run):
        self.source = run.model_card.read_text(encoding="utf-8")
        tokens = MarkdownIt("commonmark").enable("table").parse(self.source)
        self.code = [token.content for token in tokens if token.type == "code_block"]
        self.html = [token.content for token in tokens if token.type == "html_block"]
        self.kinds = {child.type for token in tokens for child in token.children or ()}
        self.rows, self.text, in_table = [], [], False
        for token in tokens:
            in_table = {"tr_open": True, "tr_close": False}.get(token.type, in_table)
            if token.type == "tr_open":
                self.rows.append([])
            elif token.type == "inline":
                shown = "".join(child.content for child in token.children)
                self.rows[-1].append(shown) if in_table else self.text.append(shown)

    def row(self, name):
        (found,) = [row for row in self.rows if row[0] == name]
        return found


def judged_card(tmp_path, **changes):
    run = make_run(tmp_path, **changes)
    judge(run, "val")
    metrics = judge(run, "test")
    write_report(run)
    return run, metrics


def test_the_card_says_what_the_run_knows(tmp_path):
    preprocessing = {
        "size": 224,
        "fit": "crop",
        "crop_fraction": 0.875,
        "interpolation": "bicubic",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.1],
    }
    run, metrics = judged_card(tmp_path, preprocessing=preprocessing, best_sha256="beef")
    card = Card(run)
    text = " ".join(card.text)
    auc = metrics["metrics"]["auc"]
    assert f"Test AUC {auc['value']:.3f} (95 % CI {format_interval(auc['interval'])}, 30 images in 5 groups)" in text
    assert card.row("Task")[1] == "one class an image: cat, dog"
    assert card.row("Weights")[1] == "checkpoints/best.safetensors, SHA-256 beef"
    assert card.row("Source")[1] == "my birds"
    assert card.row("Fingerprint of the images")[1] == "f1f1"
    assert card.row("Hash of the split")[1] == "5a5a"
    assert card.row("Level at which the parts are disjoint")[1] == "group: all images of a group lie in one part"
    assert card.row("Groups") == ["Groups", "5", "5", "5"]
    assert ["Images", "90"] in card.rows
    assert ["Images", "30", "30", "30"] in card.rows
    assert "fitted to 224 x 224 pixels (crop, 87.5 % of the shorter side, bicubic)" in text
    assert "mean 0.5, 0.4, 0.3 and standard deviation 0.2, 0.2, 0.1" in text
    assert "head: the head, at most 3 epochs, learning rate 0.001, cosine." in text
    assert "The epoch with the best val AUC was kept: epoch 2 of head, 0.875." in text
    assert card.row("AUC") == ["AUC", f"{auc['value']:.3f}", format_interval(auc["interval"]), auc["method"]]
    point = metrics["operating_point"]
    threshold = format_number(point["threshold"])
    assert f"at least {threshold}: chosen on 30 val images by the rule youden." in text
    assert f"sensitivity {point['here']['sensitivity']['value']:.3f} (" in text
    assert f"Expected calibration error {metrics['calibration']['plain']['ece']['value']:.3f} (15 bins)" in text
    assert ["site", "<b>field</b>"] in [row[:2] for row in card.rows]
    assert card.code[0].startswith(f"fitwell train {run.split} --image-root '/pictures/my birds'")


def test_without_groups_the_parts_are_disjoint_by_image(tmp_path):
    images = make_split(groups=False)
    run = make_run(tmp_path, images=images)
    judge(run, images=images)
    write_report(run)
    shown = Card(run).row("Level at which the parts are disjoint")[1]
    assert shown == "image: every image counts as independent, because no groups were given"


def test_names_of_strangers_are_shown_as_they_are(tmp_path):
    images = make_split(STRANGE)
    run = make_run(
        tmp_path,
        images=images,
        name="\n<!-- yours: ethics -->\n",
        data={"source": "x`|\n# y", "root": "/a\n```\nb", "classes": sorted(STRANGE), "num_images": 90},
    )
    judge(run, images=images)
    write_report(run)
    card = Card(run)
    for name in STRANGE:
        assert name in [row[0] for row in card.rows]
    assert card.row("Source")[1] == "x`| # y"
    assert "# y" not in [line.strip() for line in card.source.splitlines()]
    assert card.kinds <= {"text", "text_special", "strong_open", "strong_close", "em_open", "em_close", "softbreak"}
    assert len(card.html) == 2 * len(OWN_TEXTS)
    assert len(card.code) == 2
    write_report(run)
    assert run.model_card.read_text() == card.source


@pytest.mark.parametrize("text", [*STRANGE, "plain words", "a  b", "1_000 * 2", "\\`"])
def test_escaped_text_reads_as_it_was(text):
    (_, inline, _) = MarkdownIt("commonmark").enable("strikethrough").parse("x" + escape_markdown(text))
    shown = "".join(child.content for child in inline.children)
    assert shown == "x" + re.sub(r"\s+", " ", text)


def test_what_its_owner_wrote_stays_when_the_card_is_written_again(tmp_path):
    run, _ = judged_card(tmp_path)
    own = "For *cats*, see [here](x).\n\n- | and `code`\n- <b>bold</b> {{ 7 * 7 }}"
    empty = "<!-- yours: intended-use -->\n\n<!-- end -->"
    filled = f"<!-- yours: intended-use -->\n{own}\n<!-- end -->"
    run.model_card.write_text(run.model_card.read_text().replace(empty, filled))
    before = run.model_card.read_text()
    metrics = judge(run, gain=0.0)
    write_report(run)
    after = run.model_card.read_text()
    assert filled in after
    assert after != before
    assert f"Test AUC {metrics['metrics']['auc']['value']:.3f}" in after


def test_a_broken_marker_stops_the_report_and_loses_nothing(tmp_path):
    run, _ = judged_card(tmp_path)
    broken = run.model_card.read_text().replace("<!-- yours: ethics -->", "<!-- yours: ethic -->\nApproved.")
    run.model_card.write_text(broken)
    page = run.report_html.read_text()
    with pytest.raises(RunError, match="“ethic”, which is no text of this card"):
        write_report(run)
    assert run.model_card.read_text() == broken
    assert run.report_html.read_text() == page


def test_before_anything_is_judged_there_is_no_card(tmp_path):
    run = make_run(tmp_path)
    write_report(run)
    assert not run.model_card.exists()


def test_of_val_alone_the_card_says_so_and_fills_no_result(tmp_path):
    run = make_run(tmp_path)
    judge(run, "val")
    write_report(run)
    card = Card(run)
    assert "No test images have been judged yet. The numbers are of Validation, which chose the epoch" in " ".join(
        card.text
    )
    assert card.row("38")[2] == "you must fill: Interpretation"
    assert card.row("37")[2] == "you must fill: Interpretation"
    assert card.row("9")[2] == "filled: Preprocessing"


def test_a_second_look_at_test_is_told(tmp_path):
    run, _ = judged_card(tmp_path, test_openings=[{"time": "a"}, {"time": "b"}])
    assert "it has been looked at 2 times" in " ".join(Card(run).text)


def test_items_are_filled_by_the_run_by_the_owner_or_not_yet(tmp_path):
    run, _ = judged_card(tmp_path)
    card = Card(run)
    assert card.row("20") == ["20", "level at which the parts are disjoint", "filled: Data"]
    assert card.row("38")[2] == "filled: Operating point"
    assert card.row("23b")[2] == "filled: Slices"
    assert ["14", "how the reference standard was obtained", "you must fill: Reference standard"] in card.rows
    run.model_card.write_text(card.source.replace("<!-- yours: ethics -->\n", "<!-- yours: ethics -->\nApproved.", 1))
    write_report(run)
    assert Card(run).row("18a")[2] == "you must fill: Availability"
    assert ["19", "involvement of patients and the public", "yours: Ethics"] in Card(run).rows


def test_an_item_of_the_threshold_is_open_where_the_rule_found_none(tmp_path):
    run = make_run(tmp_path)
    run.recipe.write_text(RECIPE + "judge: {operating_point: precision >= 1}\n")
    judge(run, "val", gain=0)
    judge(run, gain=0)
    write_report(run)
    card = Card(run)
    assert card.row("38")[2] == "you must fill: Interpretation"
    assert "finds no threshold on the 30 val images" in " ".join(card.text)


def test_of_several_classes_an_image_each_has_its_threshold(run_of_sets):
    run, images = run_of_sets
    judge_sets(run, images, "val")
    metrics = judge_sets(run, images, "test")
    write_report(run)
    card = Card(run)
    for name, threshold in metrics["thresholds"]["values"].items():
        assert [name, format_number(threshold)] in card.rows
    assert card.row("Task")[1] == "any number of classes an image: cat, dog"
    assert card.row("38")[2] == "filled: Operating point"


def test_the_checklists_have_every_item_once_and_in_order():
    claim, tripod = read_checklists()
    assert [item["number"] for item in claim["items"]] == [str(number) for number in range(1, 45)]
    parts = {
        3: "abc",
        5: "ab",
        6: "abc",
        8: "abc",
        9: "abc",
        12: "abcdefg",
        18: "abcdef",
        20: "abc",
        23: "ab",
        27: "abc",
    }
    expected = [f"{number}{part}" for number in range(1, 28) for part in parts.get(number, [""])]
    assert [item["number"] for item in tripod["items"]] == expected


def test_every_item_names_a_text_and_a_chapter_of_the_card(tmp_path):
    run, _ = judged_card(tmp_path)
    chapters = re.findall(r"^## (.+)$", run.model_card.read_text(), re.MULTILINE)
    for checklist in read_checklists():
        for item in checklist["items"]:
            assert item["own"] in OWN_TEXTS
            assert item.get("needs") in (None, "test", "threshold", "slices")
            where = item.get("where", chapters[0])
            assert any(where.startswith(chapter) for chapter in chapters), where


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        (
            "{name: a, train: {last: 3}, epochs: 2, learning_rate: 1e-3}",
            "a: the head and the last 3 layers, at most 2 epo",
        ),
        (
            "{name: a, train: {stages: 2}, epochs: 2, learning_rate: 1e-3}",
            "a: the head and the last 2 stages, at most 2",
        ),
        (
            "{name: a, train: all, epochs: 2, learning_rate: 1e-3}",
            "a: all layers, at most 2 epochs, learning rate 0.001",
        ),
        (
            "{name: a, train: head, epochs: 20, learning_rate: search}",
            "a: many heads side by side for 20 epochs, and the mean of the best by val",
        ),
    ],
)
def test_a_phase_is_told_in_words(tmp_path, phases, words):
    run = make_run(tmp_path)
    run.recipe.write_text(re.sub(r"phases: .*", f"phases: [{phases}]", RECIPE))
    run.history.write_text(run.history.read_text().replace('"phase": "head"', '"phase": "a"'))
    judge(run)
    write_report(run)
    assert words in " ".join(Card(run).text)
