import pytest
from PIL import Image

from fitwell.evaluation.report.page import write_report
from fitwell.files import read_json, write_json
from fitwell.run_folder import RunFolder
from html_page import Page
from reported_runs import judge, make_run, make_split

STRANGE = "<img src=x onerror=alert(1)>\u202e.png"


def a_mistake(number=0, **changes):
    return {
        "id": str(number),
        "path": f"{number}.png",
        "group": "",
        "actual": "cat",
        "predicted": "dog",
        "confidence": 0.75,
        "loss": 1.386,
        "picture": f"mistakes/{number}.jpg",
        "heat_maps": {"predicted": f"mistakes/{number}-predicted.jpg", "actual": None},
        "named": None,
        **changes,
    }


def page_of(tmp_path, shown, *, cells=4, num_images=None, images=None, pairs=()):
    """The page of a run that was judged with these mistakes; their pictures are there."""
    run = make_run(tmp_path, images=images)
    judge(run, images=images)
    folder = run.evaluation("test")
    (folder / "mistakes").mkdir()
    for mistake in shown:
        for name in (mistake["picture"], *mistake.get("heat_maps", {}).values()):
            if name:
                Image.new("RGB", (4, 4)).save(folder / name)
    told = {
        "num_images": len(shown) if num_images is None else num_images,
        "confused_pairs": list(pairs),
        "heat_map_cells": cells,
        "shown": shown,
    }
    write_json(folder / "metrics.json", read_json(folder / "metrics.json") | {"mistakes": told})
    write_report(run)
    return Page(run.report_html)


def addresses(page):
    return [value for name, value in page.attributes if name == "src"]


def test_a_mistake_is_shown_with_its_heat_maps_and_its_numbers(tmp_path):
    page = page_of(tmp_path, [a_mistake(group="module7")], num_images=9)
    assert "9 of 30 images were named wrongly; here are the 1 with the largest loss" in page.text
    assert "what it saw for “dog” zero everywhere for “cat”" in page.text
    assert "cat taken for dog confidence 0.750 · loss 1.39 0.png · group module7" in page.text
    assert "Each has 4 × 4 cells" in page.text
    assert len(addresses(page)) == 2
    assert all(address.startswith("data:image/jpeg;base64,/9j/") for address in addresses(page))


def test_six_mistakes_are_open_and_the_others_fold_away(tmp_path):
    page = page_of(tmp_path, [a_mistake(number) for number in range(8)])
    before, after = page.text.split(" 2 more ")
    assert "5.png" in before
    assert "6.png" not in before
    assert "6.png" in after


def test_names_of_strangers_are_escaped_in_the_gallery(tmp_path):
    images = make_split(("<b>cat</b>", "dog"))
    page = page_of(
        tmp_path,
        [a_mistake(path=STRANGE, group="<i>g</i>", actual="<b>cat</b>", named="<u>owl</u>")],
        images=images,
    )
    assert not {"b", "i", "u"} & set(page.tags)
    assert page.tags.count("img") == 2
    assert r"<img src=x onerror=alert(1)>\u202e.png · group <i>g</i>" in page.text
    assert "The pass behind the heat maps names “<u>owl</u>”." in page.text
    assert "\u202e" not in page.source


def test_without_a_map_the_page_says_why_there_are_no_heat_maps(tmp_path):
    bare = {name: value for name, value in a_mistake().items() if name not in ("heat_maps", "named")}
    page = page_of(tmp_path, [bare], cells=None)
    assert "No heat maps: the last features of this backbone form no known map over the picture." in page.text
    assert "Grad-CAM" not in page.text
    assert len(addresses(page)) == 1


def test_without_mistakes_the_page_says_so_and_shows_nothing(tmp_path):
    page = page_of(tmp_path, [], cells=None)
    assert "No image of these was named wrongly." in page.text
    assert "heat map" not in page.text
    assert addresses(page) == []


@pytest.mark.parametrize(("classes", "shown"), [(("cat", "dog"), False), (("cat", "dog", "owl"), True)])
def test_confused_pairs_are_told_where_the_matrix_has_more_than_two_classes(tmp_path, classes, shown):
    pair = {"actual": "cat", "predicted": "dog", "count": 3, "share": 0.3}
    page = page_of(tmp_path, [a_mistake()], images=make_split(classes), pairs=[pair])
    assert ("Actual Taken for Images Of the actual class cat dog 3 30%" in page.text) == shown


def test_a_picture_that_was_removed_from_the_run_is_gone_from_the_next_page(tmp_path):
    page_of(tmp_path, [a_mistake()])
    (run,) = tmp_path.iterdir()
    (run / "evaluation/test/mistakes/0.jpg").unlink()
    write_report(RunFolder(run))
    page = Page(run / "report.html")
    assert "removed what it saw" in page.text
    assert len(addresses(page)) == 1
