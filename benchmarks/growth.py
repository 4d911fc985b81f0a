"""Acceptance 6: seconds and memory per image of 1,000, 10,000 and 100,000 synthetic JPEGs, and a cache below its cap.

Every size runs in a process of its own: read and split the table, prepare and keep every picture, extract and keep the
activations of a toy network (whose cost does not hide that of the bookkeeping), read all of them again. Memory is the
peak above what the process held before, so that torch does not flatten the figures. A last run has a cap of a third of
what it needs: the store must stay below it at every look, and every picture must still come.

    python benchmarks/growth.py [--sizes 1000 10000 100000] [--rounds 1] [--folder DIR]
"""

import argparse
import csv
import itertools
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 64
CAP_BYTES = 2**34
WHOLE = {  # what all images together took
    "microseconds": lambda row: row["total_microseconds_per_image"] * row["images"],
    "bytes": lambda row: row["memory_bytes"],
}


def write_table(folder: Path, num_images: int) -> Path:
    random = np.random.default_rng(0)
    table = folder / "labels.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group", "sha256"])
        for image in range(num_images):
            if image % 1000 == 0:
                (folder / f"f{image // 1000:04}").mkdir()
            name = f"f{image // 1000:04}/{image:06}.jpg"
            coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / name, quality=85)
            writer.writerow([name, f"class{int(random.integers(10))}", f"g{image // 5}", ""])
    return table


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def work(table: Path, cap_bytes: int) -> dict[str, object]:
    """Runs in a process of its own, on a small table first, which pays for imports and buffers."""
    import torch

    torch.set_num_threads(1)
    (small := table.parent / "small").mkdir()
    run_chain(write_table(small, 128), CAP_BYTES)
    before = peak_bytes()
    num_images, seconds, largest = run_chain(table, cap_bytes)
    return {
        "images": num_images,
        "cap_bytes": cap_bytes,
        "largest_bytes": largest,
        "below_cap": largest <= cap_bytes,
        "microseconds_per_image": {name: round(1e6 * took / num_images, 1) for name, took in seconds.items()},
        "total_microseconds_per_image": round(1e6 * sum(seconds.values()) / num_images, 1),
        "memory_bytes": peak_bytes() - before,
    }


def run_chain(table: Path, cap_bytes: int) -> tuple[int, dict[str, float], int]:
    """Return the number of images, the seconds of every part, and the largest size the store was seen at."""
    import pandas  # noqa: F401 - loaded once in a process, however many images there are
    import torch
    from torch import nn

    from fitwell.data.image_cache import ImageCache
    from fitwell.data.index import index_dataset
    from fitwell.data.loader import ImageSource, load_batches
    from fitwell.data.split import assign_splits
    from fitwell.data.transforms import Preprocessing
    from fitwell.files import sha256_of_file
    from fitwell.model.activations import activation_shelf, in_order, keep_activations
    from fitwell.store import Store

    mean = std = (0.5, 0.5, 0.5)
    view = Preprocessing(32, "crop", 1.0, mean, std, "bilinear")
    prefix = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.AdaptiveAvgPool2d(2), nn.Flatten()).eval()
    store, seconds, largest = Store(table.parent / "cache", cap_bytes), {}, 0
    mark = time.perf_counter()

    def lap(name):
        nonlocal mark
        mark, last = time.perf_counter(), mark
        seconds[name] = mark - last

    dataset = index_dataset(table)
    images = assign_splits(dataset.images, val_fraction=0.15, test_fraction=0.15, seed=0)
    lap("index_and_split")
    sha256s = tuple(sha256_of_file(dataset.root / path) for path in images["path"])
    lap("hash")
    source = ImageSource(dataset.root, tuple(images["path"]), view, None, 0, sha256s, ImageCache(store))
    batches = in_order(len(source))
    for name in ("keep_pictures", "read_pictures"):
        seen = 0
        for number, (pictures, _) in enumerate(load_batches(source, batches, epoch=0, workers=0)):
            seen += len(pictures)
            if number % max(1, len(batches) // 50) == 0:
                largest = max(largest, store.size_bytes())
        if seen != len(source):
            raise SystemExit(f"{seen} of {len(source)} pictures came.")
        lap(name)
    if cap_bytes == CAP_BYTES:
        with torch.inference_mode():
            shelf = activation_shelf(store, prefix, view, "eager")
            kept = keep_activations(source, 0, shelf=shelf, extract=prefix, workers=0)
            lap("keep_activations")
            for block in batches:
                kept[block]
            lap("read_activations")
    return len(source), seconds, max(largest, store.size_bytes())


def repeats(size: int, sizes: list[int]) -> int:
    """Return how often a size is measured in a round: what takes a second is disturbed more than what takes minutes."""
    return 1 + 4 * round(math.log10(max(sizes) / size))


def measure(table: Path, cap_bytes: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--work", str(table), str(cap_bytes)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row = json.loads(done.stdout.splitlines()[-1])
    print(row, file=sys.stderr, flush=True)
    return row


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians of each size, by the image and by the further image, and the most of them over the least."""
    sizes = sorted({row["images"] for row in rows})
    found: dict[str, Any] = {"floor": 1.15}
    for name, whole_of in WHOLE.items():
        whole = {size: statistics.median(whole_of(row) for row in rows if row["images"] == size) for size in sizes}
        each = {size: round(whole[size] / size, 1) for size in sizes}
        further = {
            f"{small} to {large}": round((whole[large] - whole[small]) / (large - small), 1)
            for small, large in itertools.pairwise(sizes)
        }
        found[name] = {
            kind: {"medians": figures, "most_over_least": round(max(figures.values()) / min(figures.values()), 3)}
            for kind, figures in (("per_image", each), ("per_further_image", further))
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", help="where images and caches go; by default $TMPDIR")
    parser.add_argument("--work", nargs=2)
    asked = parser.parse_args()
    if asked.work:
        print(json.dumps(work(Path(asked.work[0]), int(asked.work[1]))))
        return
    turns = [size for size in asked.sizes for _ in range(repeats(size, asked.sizes))]
    rows = []
    for _ in range(asked.rounds):
        for size in turns:
            with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
                rows.append(measure(write_table(Path(folder), size), CAP_BYTES))
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        size = asked.sizes[len(asked.sizes) // 2]
        capped = measure(write_table(Path(folder), size), size * 32 * 32 * 3 // 3)
    from result import write_result  # loads torch, whose memory a child would inherit in its peak

    write_result("growth", {"side": SIDE, "rounds": asked.rounds, **summarise(rows), "sizes": rows, "capped": capped})


if __name__ == "__main__":
    main()
