"""How many planted variants of emoji are found again, and which pairs nobody planted.

For each kind, variants of 500 random emoji are put beside all 4,919, and the whole search runs. A variant is found
when it is in the cluster of its original. A pair whose two sides come from two different emoji files was not planted:
those, and 34 random pairs of each kind, are drawn on contact sheets, to be judged by eye. When the result was recorded,
none of the 204 was false, and 2 of the 29 that nobody planted: a yellow heart, and a golden disc, turned grey, are the
white heart and the silver disc.

    python benchmarks/near_duplicates.py LABELS.csv SHEETS [OTHER_LABELS.csv ...]
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageEnhance
from result import write_result
from scipy.stats import binomtest

from fitwell.data.check.duplicates import find_duplicates
from fitwell.data.check.measure import scan_images
from fitwell.data.decode import decode_image
from fitwell.data.demo import elpv_dataset
from fitwell.data.index import Dataset, index_dataset

VARIANTS = 500


def crop(image, random):
    """Take 4 % off the width and off the height, at random sides."""
    width, height = image.size
    x, y = (round(random.uniform(0, 0.04) * side) for side in image.size)
    return image.crop((x, y, x + round(0.96 * width), y + round(0.96 * height)))


def crop_every_edge(image, random):
    width, height = image.size
    return image.crop((round(0.04 * width), round(0.04 * height), round(0.96 * width), round(0.96 * height)))


def resize(image, random):
    scale = random.uniform(0.5, 1.5)
    return image.resize([round(scale * side) for side in image.size], Image.Resampling.BICUBIC)


KINDS = {
    "resized to 50-150 %": resize,
    "JPEG, quality 30-95": lambda image, random: image,
    "brightness 90-110 %": lambda image, random: ImageEnhance.Brightness(image).enhance(random.uniform(0.9, 1.1)),
    "4 % cropped": crop,
    "4 % cropped at every edge": crop_every_edge,
    "greyscale": lambda image, random: image.convert("L"),
}


def plant(dataset, kind, folder, random):
    """Write variants of random images; return the dataset with both, and each row's source (N,) as a row number."""
    table = dataset.images
    sources = random.choice(len(table), VARIANTS, replace=False)
    rows = []
    for source in sources:
        image = KINDS[kind](decode_image(dataset.root / table["path"].iloc[source]), random)
        suffix = ".jpg" if kind.startswith("JPEG") else ".png"
        path = folder / f"{source}{suffix}"
        image.save(path, **({"quality": int(random.integers(30, 96))} if suffix == ".jpg" else {}))
        rows.append({"path": str(path), "label": table["label"].iloc[source]})
    absolute = table.assign(path=[str(dataset.root / path) for path in table["path"]])
    images = pd.concat([absolute[["path", "label"]], pd.DataFrame(rows)], ignore_index=True)
    both = Dataset(root=Path("/"), images=images, classes=dataset.classes, source="planted")
    return both, np.concatenate([np.arange(len(table)), sources])


def search(dataset):
    """Scan and search; return the images, the duplicates and the seconds of both, on one thread."""
    begin = time.process_time()
    scan = scan_images(dataset, threads=1)
    between = time.process_time()
    found = find_duplicates(dataset.root, scan.images, scan.measures)
    return scan.images, found, {"scan": between - begin, "search": time.process_time() - between}


def draw_sheet(path, pairs, columns=10, side=80):
    """Draw pairs (first file, second file, distance) side by side."""
    rows = -(-len(pairs) // columns)
    sheet = Image.new("RGB", (columns * (2 * side + 16), max(1, rows) * (side + 16)), "grey")
    draw = ImageDraw.Draw(sheet)
    for number, (first, second, distance) in enumerate(pairs):
        x, y = number % columns * (2 * side + 16), number // columns * (side + 16)
        sheet.paste(decode_image(first).resize((side, side)), (x, y))
        sheet.paste(decode_image(second).resize((side, side)), (x + side + 2, y))
        draw.text((x, y + side), f"{distance:.2f}", fill="white")
    sheet.save(path)


def count_pairs(dataset, sheet):
    images, found, seconds = search(dataset)
    files = [dataset.root / path for path in images["path"]]
    near = [(files[pair.first], files[pair.second], pair.distance) for pair in found.pairs if pair.kind == "near"]
    draw_sheet(sheet, near)
    kinds = {kind: sum(pair.kind == kind for pair in found.pairs) for kind in ("file", "pixels", "near")}
    return {"n": len(images), "pairs": kinds, "cpu_seconds": {name: round(value, 1) for name, value in seconds.items()}}


def main() -> None:
    emoji, sheets = index_dataset(Path(sys.argv[1])), Path(sys.argv[2])
    sheets.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    recall, pairs, unplanted = {}, [], set()
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            dataset, sources = plant(emoji, kind, Path(folder), random)
            images, found, _ = search(dataset)
            hits = int((found.clusters[len(emoji.images) :] == found.clusters[sources[len(emoji.images) :]]).sum())
            low, high = binomtest(hits, VARIANTS).proportion_ci(method="wilson")
            recall[kind] = {
                "recall": hits / VARIANTS,
                "interval": [round(float(low), 4), round(float(high), 4)],
                "n": VARIANTS,
            }
            print(kind, recall[kind], file=sys.stderr)
            files = [Path("/") / path for path in images["path"]]
            near = [pair for pair in found.pairs if pair.kind == "near"]
            mixed = [(pair.first, pair.second) for pair in near if sources[pair.first] != sources[pair.second]]
            unplanted |= {tuple(sorted((sources[first], sources[second]))) for first, second in mixed}
            chosen = [near[number] for number in random.choice(len(near), 200 // len(KINDS) + 1, replace=False)]
            name = kind.replace(" ", "_").replace("%", "percent")
            draw_sheet(sheets / f"sample_{name}.png", [(files[p.first], files[p.second], p.distance) for p in chosen])
            pairs += [len(near)]
    files = [emoji.root / path for path in emoji.images["path"]]
    draw_sheet(sheets / "unplanted.png", [(files[first], files[second], 0) for first, second in sorted(unplanted)])
    sets = {"emoji": emoji, "elpv": elpv_dataset()} | {
        Path(p).parent.name: index_dataset(Path(p)) for p in sys.argv[3:]
    }
    write_result(
        "near_duplicates",
        {
            "recall": recall,
            "near_pairs": sum(pairs),
            "different_emoji_paired": len(unplanted),
            "as_they_are": {name: count_pairs(dataset, sheets / f"{name}.png") for name, dataset in sets.items()},
        },
    )


if __name__ == "__main__":
    main()
