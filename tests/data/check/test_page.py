import base64
import io
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fitwell.data.check.page import shade_cut, write_page
from fitwell.data.finding import Case, Finding
from fitwell.data.labels import ONE_EACH, Labelling
from fitwell.data.preview import CropPlan, kept_box, model_view
from html_page import Page

PLAN = CropPlan(48, "crop", 1.0)


class PicturePage(Page):
    """A page with pictures in it."""

    @property
    def alts(self):
        return [value for name, value in self.attributes if name == "alt"]

    def pictures(self):
        found = [value.partition(",") for name, value in self.attributes if name == "src"]
        assert {head for head, _, _ in found} <= {"data:image/webp;base64"}
        return [Image.open(io.BytesIO(base64.b64decode(body))) for _, _, body in found]


def inspection(root, findings=(), num=20, sizes=((60, 60),), names="{:02}.png", **changes):
    """Noisy images on disk, cats and dogs by turns, and what a check would say of them."""
    random = np.random.default_rng(0)
    rows = []
    for row in range(num):
        name, (width, height) = names.format(row), sizes[row % len(sizes)]
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(root / name)
        rows.append((name, ["cat", "dog"][row % 2], ["train", "train", "val", "test"][row % 4], width, height))
    images = pd.DataFrame(rows, columns=["path", "label", "split", "width", "height"])
    told = {"source": "my pets", "root": root, "images": images, "classes": ("cat", "dog"), "plan": PLAN}
    told["labelling"] = ONE_EACH
    return SimpleNamespace(**{**told, "findings": tuple(findings), **changes})


def page(tmp_path, *args, **changes):
    write_page(tmp_path / "page.html", inspection(tmp_path / "pets", *args, **changes))
    return PicturePage(tmp_path / "page.html")


BLANK = Finding(
    "DATA601", "15 of 20 images are blank.", tuple(Case(f"{row:02}.png", f"case {row}") for row in range(15))
)
CUT_SHORT = Finding("DATA103", "1 of 21 images is cut short.", (Case("gone.png", "after 80 bytes"),))
NOTICE = Finding("DATA603", "The colours are strange.", evidence={"distance": 1.2345, "mean": [0.5, 0.25], "n": 4919})


def test_the_page_asks_nothing_of_the_network_and_runs_nothing(tmp_path):
    found = page(tmp_path, [BLANK, CUT_SHORT, NOTICE])
    assert {"script", "link", "iframe", "object"} & set(found.tags) == set()
    assert [name for name, _ in found.attributes if name.startswith("on")] == []
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in found.attributes
    assert re.findall(r"(?:https?:)?//\w|url\(|@import", re.sub(r"base64,[^\"]*", "", found.source)) == []
    addresses = [value for name, value in found.attributes if name in ("href", "src")]
    assert all(value.startswith(("#finding-", "data:image/webp;base64,")) for value in addresses)


def test_it_begins_with_the_verdict_and_the_sizes(tmp_path):
    found = page(tmp_path, [BLANK, CUT_SHORT, NOTICE], sizes=[(60, 60), (60, 60), (60, 60), (90, 50)])
    assert found.text.startswith("my pets · fitwell check fitwell check my pets Not ready: 1 error stops training")
    for words in (
        "Images 20 that can be used",
        "Classes 2 of 10 images",
        "Usual size 60 × 60 15 images; sides of 50 to 90 pixels",
        "The network sees 48 × 48 centre of each image",
        "train 10 val 5 test 5 cat 10 dog 10",
    ):
        assert words in found.text


def test_groups_are_counted_where_images_belong_together(tmp_path):
    told = inspection(tmp_path / "pets")
    told.images["group"] = [f"patient-{row // 4}" for row in range(20)]
    write_page(tmp_path / "page.html", told)
    assert "Groups 5 that stay on one side" in PicturePage(tmp_path / "page.html").text


@pytest.mark.parametrize(
    ("findings", "verdict"),
    [
        ([], "Ready to train Nothing was found."),
        ([NOTICE], "Ready to train Some rules were applied; they are listed below."),
        ([BLANK, NOTICE], "Ready to train, with 1 warning A warning stops nothing, but may spoil the result."),
        ([BLANK, BLANK], "Ready to train, with 2 warnings"),
        ([CUT_SHORT, CUT_SHORT, BLANK], "Not ready: 2 errors stop training"),
    ],
)
def test_the_worst_finding_decides_the_verdict(tmp_path, findings, verdict):
    assert verdict in page(tmp_path, findings).text


def test_findings_come_by_severity_with_reason_evidence_and_remedy(tmp_path):
    found = page(tmp_path, [NOTICE, BLANK, CUT_SHORT])
    titles = [
        "Image cut short error DATA103",
        "Blank image warning DATA601",
        "Colours unlike those the backbone learned from notice DATA603",
    ]
    assert sorted(titles, key=found.text.index) == titles
    assert "Nothing can be learned from one colour." in found.text
    assert "distance 1.23 mean 0.5, 0.25 n 4,919 Fix Train more layers, or longer." in found.text


def test_twelve_cases_are_shown_and_the_others_counted(tmp_path):
    found = page(tmp_path, [BLANK])
    assert found.alts == [f"{row:02}.png" for row in range(12)]
    assert "00.png cat · train case 0" in found.text
    assert "3 more; fitwell check --fix-list lists all 15." in found.text
    assert [picture.size for picture in found.pictures()] == [(60, 60)] * 12


def test_pictures_are_small(tmp_path):
    found = page(tmp_path, [BLANK], sizes=[(600, 300)], num=3)
    assert {picture.size for picture in found.pictures()} == {(300, 150)}


def test_duplicates_stand_side_by_side(tmp_path):
    finding = Finding(
        "DATA304", "2 pairs disagree.", (Case("00.png", "cat and dog", "01.png"), Case("03.png", "", "02.png"))
    )
    found = page(tmp_path, [finding])
    assert found.alts == ["00.png", "01.png", "03.png", "02.png"]
    assert "00.png cat · train 01.png dog · train cat and dog 03.png dog · test 02.png cat · val" in found.text


def test_a_cut_picture_stands_beside_what_the_network_sees(tmp_path):
    told = inspection(
        tmp_path / "pets", [Finding("DATA605", "1 is cut.", (Case("00.png", "33 % is kept"),))], sizes=[(180, 60)]
    )
    write_page(tmp_path / "page.html", told)
    original = Image.open(tmp_path / "pets" / "00.png")
    cut, seen = (
        np.asarray(picture.convert("RGB"), dtype=int) for picture in PicturePage(tmp_path / "page.html").pictures()
    )
    assert np.abs(seen - np.asarray(model_view(original, PLAN))).mean() < 30  # WebP blurs the colours of noise
    assert cut.shape == (60, 180, 3)
    assert cut[:, :58].std() < cut[:, 64:116].std() / 2 > cut[:, 122:].std()


def test_shading_leaves_what_is_kept_as_it_is():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 120, 3), dtype=np.uint8))
    shaded = np.asarray(shade_cut(picture, kept_box(picture.size, PLAN)))
    pixels = np.asarray(picture)
    assert np.array_equal(shaded[2:38, 42:78], pixels[2:38, 42:78])
    assert not (shaded[:, :40] == pixels[:, :40]).all(axis=-1).any()


@pytest.mark.parametrize("size", [(1, 400), (2000, 1)])
def test_the_thinnest_pictures_can_be_shaded(size):
    picture = Image.new("RGB", size, "red")
    box = kept_box(size, PLAN)
    picture.thumbnail((300, 300))
    shaded = shade_cut(picture, box)
    assert shaded.size == picture.size
    assert shaded.getcolors()[0][0] > 250  # nearly all of it is grey now


def test_cases_without_a_picture_are_told_in_words(tmp_path):
    finding = Finding("DATA208", "1 row is blank.", (Case("row 7", "label is blank", "row 8"),))
    found = page(tmp_path, [CUT_SHORT, finding])
    assert found.pictures() == []
    assert "gone.png after 80 bytes" in found.text
    assert "row 7 label is blank see row 8" in found.text


def test_no_file_outside_the_dataset_is_opened(tmp_path):
    Image.new("RGB", (10, 10), "red").save(tmp_path / "secret.png")
    names = ["../secret.png", str(tmp_path / "secret.png")]
    found = page(tmp_path, [Finding("DATA209", "2 paths leave.", tuple(Case(name, "", "00.png") for name in names))])
    assert found.pictures() == []
    assert "../secret.png" in found.text


def test_an_image_that_vanished_since_the_check_is_told_in_words(tmp_path):
    told = inspection(tmp_path / "pets", [BLANK])
    (tmp_path / "pets" / "03.png").unlink()
    write_page(tmp_path / "page.html", told)
    found = PicturePage(tmp_path / "page.html")
    assert len(found.pictures()) == 11
    assert "03.png case 3" in found.text


def test_names_can_neither_run_nor_deceive(tmp_path):
    evil = '<script>alert("1")</script>\u202e&amp;\n{:02}.png'
    told = inspection(tmp_path / "pets", names="<b onclick=x>" + evil.replace("/", "|"), num=8)
    told.images["label"] = told.classes[0] + "</style><script>"
    told.classes = (told.images["label"][0],)
    told.source = evil
    case = Case(told.images["path"][0], "<i>detail</i>\n", "<other>")
    findings = [
        Finding("DATA601", "<u>1 image</u>", (Case(case.name, case.detail),), {"<k>": "<v>", "more": {"<a>": "<c>"}}),
        Finding("DATA103", "1 image", (case,)),
        Finding("DATA606", "x", (), {"counts": {"<p>": {"classes": {"<c>": {"<v>": 1}}, "all": {"<v>": 1}}}}),
    ]
    write_page(tmp_path / "page.html", SimpleNamespace(**{**vars(told), "findings": tuple(findings)}))
    found = PicturePage(tmp_path / "page.html")
    assert {"script", "u"} & set(found.tags) == set()
    assert "\u202e" not in found.source
    assert '<script>alert("1")</script>\\u202e&amp;\\n{:02}.png' in found.text
    assert "<u>1 image</u>" in found.text
    assert "<i>detail</i>" in found.text
    assert ("onclick", "x") not in found.attributes
    assert len(found.pictures()) == 1


def test_a_shortcut_is_shown_as_a_table_of_counts(tmp_path):
    counts = {"format": {"classes": {"cat": {"JPEG": 9, "PNG": 1}}, "all": {"JPEG": 9, "PNG": 11}}}
    found = page(tmp_path, [Finding("DATA606", "The format tells.", (Case("cat", "format JPEG"),), {"counts": counts})])
    assert "Images by format PNG JPEG cat 1 10 % 9 90 % all images 11 55 % 9 45 %" in found.text


def test_many_classes_fold_away(tmp_path):
    told = inspection(tmp_path / "pets", num=40)
    told.images["label"] = [f"class{row // 2:02}" for row in range(40)]
    told.classes = tuple(sorted(set(told.images["label"])))
    write_page(tmp_path / "page.html", told)
    assert "class15 2 4 more classes class16 2" in PicturePage(tmp_path / "page.html").text


def test_images_that_could_not_be_divided_have_a_page_too(tmp_path):
    told = inspection(tmp_path / "pets", [CUT_SHORT])
    told.images = told.images.drop(columns="split")
    write_page(tmp_path / "page.html", told)
    assert "Not divided into parts. cat 10 dog 10" in PicturePage(tmp_path / "page.html").text


def test_a_dataset_of_which_nothing_is_left_has_a_page_too(tmp_path):
    told = inspection(tmp_path / "pets", [CUT_SHORT])
    told.images, told.classes = told.images[:0], ()
    write_page(tmp_path / "page.html", told)
    assert "Images 0" in PicturePage(tmp_path / "page.html").text


def test_the_same_inspection_gives_the_same_page(tmp_path):
    told = inspection(tmp_path / "pets", [BLANK])
    write_page(tmp_path / "one.html", told)
    write_page(tmp_path / "two.html", told)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_of_several_classes_an_image_each_has_its_bar(tmp_path):
    told = inspection(tmp_path / "pets", labelling=Labelling(several=True), classes=("cat", "dog", "owl"))
    images = told.images.assign(label=["cat|dog", "dog", "", "cat|dog"] * 5)
    write_page(tmp_path / "page.html", SimpleNamespace(**{**vars(told), "images": images}))
    text = " ".join(PicturePage(tmp_path / "page.html").text.split())
    assert "Classes 3 of 0 to 15 images" in text
    assert "cat 10 dog 15 owl 0" in text
