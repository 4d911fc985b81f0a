"""The page about the images: what they are, and each finding with pictures, evidence and remedy.

One file without scripts or requests. Every text in it is escaped, every name spelled out, and every picture is small
and lies in the page itself. Nothing outside the dataset is opened: only images that passed the check are shown.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

from fitwell.data.decode import decode_image
from fitwell.data.finding import Case, Finding, printable, sort_findings
from fitwell.data.preview import kept_box, model_view
from fitwell.data.split import PARTS
from fitwell.errors import DataError
from fitwell.files import write_text

if TYPE_CHECKING:
    from fitwell.data.check.inspection import Inspection

TEMPLATE = Path(__file__).with_name("page.html.j2")
MOST_CASES = 12  # of each finding
MOST_CLASSES = 16  # shown at once; the others fold away
MOST_COLUMNS = 6  # of a table of counts
PICTURE_SIDE = 300  # pixels; shown at half of it, so that it is sharp on every screen
CUT = "DATA605"
CUT_COLOUR, CUT_STRENGTH = (128, 136, 144), 0.75
VIEWS = {
    "crop": "centre of each image",
    "pad": "each image whole, with margins",
    "squash": "each image whole, stretched",
}


def write_page(path: Path, inspection: Inspection) -> None:
    """Write everything that was found about the images as one HTML file."""
    write_text(path, render(collect(inspection)))


def render(content: Mapping[str, Any]) -> str:
    """Return the page for what `collect` returned; every text in it is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(content)


def collect(inspection: Inspection) -> dict[str, Any]:
    """Return everything the page says, as text and numbers that need no further thought."""
    findings = sort_findings(inspection.findings)
    album = Album(inspection, [case for finding in findings for case in finding.cases[:MOST_CASES]])
    counts = Counter(finding.severity for finding in findings)
    parts = inspection.images["split"].value_counts().to_dict() if "split" in inspection.images else {}
    return {
        "source": printable(inspection.source),
        "verdict": _judge(counts),
        "facts": _list_facts(inspection),
        "classes": _count_classes(inspection),
        "parts": {part: parts[part] for part in PARTS if part in parts},
        "most_classes": MOST_CLASSES,
        "findings": [_describe(finding, album) for finding in findings],
    }


class Album:
    """Small pictures of the images that passed, as addresses that hold the picture themselves."""

    def __init__(self, inspection: Inspection, cases: Iterable[Case]) -> None:
        self._root, self._plan = inspection.root, inspection.plan
        images = inspection.images
        images = images[images["path"].isin({name for case in cases for name in (case.name, case.other)})]
        told = images[[name for name in ("label", "split") if name in images]]
        self._captions = dict(zip(images["path"], told.itertuples(index=False, name=None), strict=True))
        self._open = lru_cache(maxsize=1)(self._decode)  # a cut picture is shown twice; each may take 150 MB

    def show(self, name: str, *, role: str = "") -> dict[str, str] | None:
        """Return picture, name, folder and caption of an image; None for what is no image that passed.

        Args:
            role: "cut" shades what the crop takes away, "seen" is what the network gets.
        """
        image = self._open(name) if name in self._captions else None
        if image is None:
            return None
        folder, _, last = printable(name).rpartition("/")
        caption = " · ".join(printable(text) for text in self._captions[name])
        picture = model_view(image, self._plan) if role == "seen" else image.copy()
        picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
        if role == "cut":
            picture = shade_cut(picture, kept_box(image.size, self._plan))
        return {"src": to_address(picture), "name": last, "folder": folder, "caption": caption}

    def _decode(self, name: str) -> Image.Image | None:
        try:
            return decode_image(self._root / name)
        except DataError:  # changed since the check; the finding is still told in words
            return None


def shade_cut(picture: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """Return the picture with everything outside the box, given as shares of its sides, greyed out."""
    sides = (picture.width, picture.height) * 2
    left, top, right, bottom = (round(share * side) for share, side in zip(box, sides, strict=True))
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    shaded = Image.blend(picture, Image.new("RGB", picture.size, CUT_COLOUR), CUT_STRENGTH)
    shaded.paste(picture.crop((left, top, right, bottom)), (left, top))
    ImageDraw.Draw(shaded).rectangle((left, top, right - 1, bottom - 1), outline=CUT_COLOUR, width=2)
    return shaded


def to_address(picture: Image.Image) -> str:
    """Return the picture as a data: URI."""
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=82)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _judge(counts: Counter[str]) -> dict[str, str]:
    """Return the worst severity, a title and a sentence."""
    if counts["error"]:
        title = f"Not ready: {_plural(counts['error'], 'error')} {'stop' if counts['error'] > 1 else 'stops'} training"
        text = "Mend what is listed; --on-data-error=warn leaves out the images that cannot be used."
        return {"severity": "error", "title": title, "text": text}
    if counts["warning"]:
        title = f"Ready to train, with {_plural(counts['warning'], 'warning')}"
        return {"severity": "warning", "title": title, "text": "A warning stops nothing, but may spoil the result."}
    rest = "Some rules were applied; they are listed below." if counts["notice"] else "Nothing was found."
    return {"severity": "notice", "title": "Ready to train", "text": rest}


def _list_facts(inspection: Inspection) -> list[tuple[str, str, str]]:
    """Return (name, value, remark) of what the dataset is."""
    images, plan = inspection.images, inspection.plan
    facts = [("Images", f"{len(images):,}", "that can be used")]
    if len(images):
        counts = list(inspection.labelling.count(images["label"], inspection.classes).values())
        sides = images[["width", "height"]]
        sizes = sides.value_counts()
        width, height = sizes.index[0]
        reach = _span(sides.min().min(), sides.max().max())
        facts += [
            ("Classes", f"{len(counts):,}", f"of {_span(min(counts), max(counts))} images"),
            ("Usual size", f"{width} × {height}", f"{sizes.iloc[0]:,} images; sides of {reach} pixels"),
        ]
    if "group" in images:
        num_groups = images["group"].nunique()
        facts.append(("Groups", f"{num_groups:,}", "that stay on one side of the split"))
    facts.append(("The network sees", f"{plan.size} × {plan.size}", VIEWS[plan.fit]))
    return facts


def _count_classes(inspection: Inspection) -> list[dict[str, Any]]:
    """Return name, number of images, and the part of the split they lie in: as text, and in percent of the bar."""
    images = inspection.labelling.by_class(inspection.images)
    totals = images["label"].value_counts().to_dict()
    divided = images if "split" in images else images.assign(split="all")
    counts = divided[["label", "split"]].value_counts().to_dict()
    scale = 100 / max(totals.values(), default=1)
    classes = []
    for label in inspection.classes:
        found = [(part, counts[label, part]) for part in (*PARTS, "all") if (label, part) in counts]
        classes.append(
            {
                "name": printable(label),
                "total": totals.get(label, 0),
                "parts": ", ".join(f"{part} {count:,}" for part, count in found),
                "bars": [(part, scale * count) for part, count in found],
            }
        )
    return classes


def _describe(finding: Finding, album: Album) -> dict[str, Any]:
    """Return what the page says about a finding; cases that have a picture apart from those that have none."""
    shown = [(case, _show_case(case, finding.code, album)) for case in finding.cases[:MOST_CASES]]
    evidence = dict(finding.evidence)
    tables = _tabulate(evidence.pop("counts", {}))
    return {
        "code": finding.code,
        "severity": finding.severity,
        "title": finding.kind.title[:1].upper() + finding.kind.title[1:],
        "message": _on_a_line(finding.message),
        "why": finding.kind.why,
        "fix": finding.kind.fix,
        "layout": " cuts" if finding.code == CUT else " pairs" if any(len(images) > 1 for _, images in shown) else "",
        "pictures": [{"detail": _on_a_line(case.detail), "images": images} for case, images in shown if images],
        "rows": [
            {"name": printable(case.name), "detail": _on_a_line(case.detail), "other": printable(case.other)}
            for case, images in shown
            if not images
        ],
        "num_cases": len(finding.cases),
        "num_more": len(finding.cases) - len(shown),
        "evidence": {name.removeprefix("num_").replace("_", " "): _to_text(value) for name, value in evidence.items()},
        "tables": tables,
    }


def _show_case(case: Case, code: str, album: Album) -> list[dict[str, str]]:
    """Return the pictures that belong to a case: the image, and its partner or what the crop makes of it."""
    if code == CUT:
        cut, seen = album.show(case.name, role="cut"), album.show(case.name, role="seen")
        return [cut, {**seen, "name": "the network's view", "folder": "", "caption": ""}] if cut and seen else []
    found = [album.show(name) for name in (case.name, case.other) if name]
    return [each for each in found if each] if all(found) else []


def _tabulate(counts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one table per property: a row for each class and one for all images, in shares of the row."""
    tables = []
    for name, found in counts.items():
        frequent = sorted(found["all"], key=lambda value: -found["all"][value])[:MOST_COLUMNS]
        rows = [(printable(label), row) for label, row in found["classes"].items()] + [("all images", found["all"])]
        shares = [
            (label, [(row.get(value, 0), row.get(value, 0) / sum(row.values())) for value in frequent])
            for label, row in rows
        ]
        tables.append({"property": name, "columns": frequent, "rows": shares})
    return tables


def _to_text(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(str(name))} {_to_text(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_to_text, value))
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else printable(str(value))


def _on_a_line(text: str) -> str:
    return printable(" ".join(text.split()))


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
