"""Draw the pictures of the examples `plants`, `rear-view` and `logos`, from icon sets that npm packages bring.

    pip install resvg-py
    python examples/drawn_pictures.py      # needs npm; about a minute, into examples/images/

Emoji are Noto's (Apache 2.0), OpenMoji's (CC BY-SA 4.0) and Fluent's (MIT). Logos are CC0; marks are the brands'.
"""

import io
import json
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pandas as pd
from PIL import Image

IMAGES = Path(__file__).parent / "images"
LOGOS = "@iconify-json/logos@1.2.19"
EMOJI = {
    "noto": "@iconify-json/noto@1.2.9",
    "openmoji": "@iconify-json/openmoji@1.2.29",
    "fluent-emoji-flat": "@iconify-json/fluent-emoji-flat@1.2.6",
}
LOGO_SIDE, EMOJI_SIDE = 256, 160  # pixels of the longer side
SHAPE = re.compile(r"<(path|circle|rect|polygon|ellipse|line|polyline)\b")
SKIN = re.compile(r"-(light|medium-light|medium|medium-dark|dark)(-skin-tone)?(?=-|$)")
CATEGORIES = {
    "activities": "activities",
    "animals nature": "animals-nature",
    "food drink": "food-drink",
    "objects": "objects",
    "people body": "people-body",
    "smileys emotion": "smileys",
    "symbols": "symbols",
    "travel places": "travel-places",
}


def icon_set(package: str) -> tuple[dict, dict]:
    """Return the icons of an npm package, and its metadata."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", package]
        packed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        with tarfile.open(Path(folder) / packed.stdout.split()[-1]) as archive:
            icons, metadata = (json.load(archive.extractfile(f"package/{name}.json")) for name in ("icons", "metadata"))
    return icons, metadata


def size_of(icons: dict, name: str) -> tuple[int, int]:
    """Return width and height of an icon, in its own units."""
    icon = icons["icons"][name]
    return tuple(icon.get(side, icons.get(side, 16)) for side in ("width", "height"))


def draw(icons: dict, name: str, side: int, path: Path) -> None:
    """Write an icon as an RGBA picture whose longer side is `side` pixels."""
    import resvg_py

    icon = icons["icons"][name]
    width, height = size_of(icons, name)
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}" '
        f'width="{width}" height="{height}">{icon["body"]}</svg>'
    )
    size = {"width" if width >= height else "height": side}
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, **size)))).save(path)


def logo_kinds(icons: dict) -> pd.DataFrame:
    """Return name, label, group, number of shapes and aspect of each logo whose kind its source leaves in no doubt.

    `text` is a wordmark whose brand has an icon too; `gradient` paints with one; of the flat ones `complex` has 8
    shapes or more and `simple` 2 or fewer. Between them, and wide ones that may hold words, no kind is certain.
    """
    names, rows = set(icons["icons"]), []
    for name in sorted(names):
        body, (width, height) = icons["icons"][name]["body"], size_of(icons, name)
        num_shapes, is_wordmark = len(SHAPE.findall(body)), f"{name}-icon" in names
        if is_wordmark:
            label = "text" if width > 1.6 * height else None
        elif not 1 / 1.6 <= width / height <= 1.6:
            label = None
        elif "Gradient" in body:
            label = "gradient"
        else:
            label = "complex" if num_shapes >= 8 else "simple" if num_shapes <= 2 else None
        if label:
            group = name.removesuffix("-icon")
            rows.append((name, label, group, num_shapes, f"{width / height:.3f}"))
    return pd.DataFrame(rows, columns=["name", "label", "group", "shapes", "aspect"])


def emoji_kinds(icons: dict, metadata: dict) -> pd.DataFrame:
    """Return name, label and group of each emoji; people in one skin tone only, and all tones of an emoji one group."""
    rows = []
    for category, names in sorted(metadata["categories"].items()):
        label = CATEGORIES.get(" ".join(re.findall(r"\w+", category.lower())))
        for name in sorted(set(names) & set(icons["icons"])) if label else []:
            group = SKIN.sub("", name)
            if label != "people-body" or group == name:
                rows.append((name, label, group))
    return pd.DataFrame(rows, columns=["name", "label", "group"])


def draw_all(icons: dict, table: pd.DataFrame, side: int, folder: Path, prefix: str = "") -> pd.DataFrame:
    """Write a picture of each row below `folder`; return the table with its paths in place of its names."""
    paths = [f"images/{label}/{prefix}{name}.png" for label, name in zip(table["label"], table["name"], strict=True)]
    for name, path in zip(table["name"], paths, strict=True):
        draw(icons, name, side, folder / path)
    return table.drop(columns="name").assign(path=paths)


def write(folder: Path, table: pd.DataFrame) -> None:
    """Write `labels.csv`, its paths first, and say what it holds."""
    path = folder / "labels.csv"
    table[["path", *table.columns.drop("path")]].to_csv(path, index=False)
    print(f"{path}: {len(table)} images, {table['label'].value_counts().to_dict()}")


def main() -> None:
    """Write examples/images/emoji and examples/images/logos, each with its labels.csv."""
    icons, _ = icon_set(LOGOS)
    write(IMAGES / "logos", draw_all(icons, logo_kinds(icons), LOGO_SIDE, IMAGES / "logos"))
    tables = []
    for vendor, package in EMOJI.items():
        icons, metadata = icon_set(package)
        table = emoji_kinds(icons, metadata)
        tables.append(draw_all(icons, table, EMOJI_SIDE, IMAGES / "emoji", f"{vendor}--").assign(vendor=vendor))
    write(IMAGES / "emoji", pd.concat(tables, ignore_index=True))


if __name__ == "__main__":
    main()
