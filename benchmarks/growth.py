"""Acceptance 6: seconds and memory per image of 1,000, 10,000 and 100,000 synthetic JPEGs, and a cache below its cap.

Every run is a process of its own: read and split the table, prepare and keep every picture, extract and keep the
activations of a toy network (whose cost does not hide that of the bookkeeping), read all of them again. Time is told
for pictures of 0.2 megapixels, as a camera's small ones are, and of 64 x 64 pixels, where the bookkeeping shows most.

Memory is what Python, NumPy and Arrow have allocated, in runs of their own, because counting slows them: what all
images hold at the end, by the image beyond the first 56, and the peak, by the further image from one size to the next:
a batch's buffers serve any number. The peak of resident memory stands beside them: it holds what allocators keep for
later, in steps of megabytes whose moment is chance. A last run has a cap of a third of what it needs: the store must
stay below it at every look, and every picture must still come.

    python benchmarks/growth.py [--sizes 1000 10000 100000] [--parts 0.2MP 64px memory cap] [--folder DIR]

What is not among the parts stays in the result as it is.
"""

import argparse
import csv
import io
import itertools
import json
import math
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

PICTURES = {"0.2MP": (500, 375), "64px": (64, 64)}  # width and height
PARTS = (*PICTURES, "memory", "cap")
VIEW = 32  # pixels of a side that are kept
BATCH = 32
FEW = 56  # images that every process begins with; few more than a split of ten classes needs
CAP_BYTES = 2**34
FLOOR = 1.15


def write_table(folder: Path, num_images: int, size: tuple[int, int], per_group: int = 5) -> Path:
    """Write JPEGs, each of other bytes, and their table; a hundred pictures come again with another comment."""
    random = np.random.default_rng(0)
    drawn = [jpeg_bytes(random, size) for _ in range(min(100, num_images))]
    table = folder / "labels.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group", "sha256"])
        for image in range(num_images):
            if image % 1000 == 0:
                (folder / f"f{image // 1000:04}").mkdir()
            name = f"f{image // 1000:04}/{image:06}.jpg"
            start, rest = drawn[image % len(drawn)][:2], drawn[image % len(drawn)][2:]
            (folder / name).write_bytes(start + b"\xff\xfe\x00\x0a" + b"%08d" % image + rest)
            writer.writerow([name, f"class{int(random.integers(10))}", f"g{image // per_group}", ""])
    return table


def jpeg_bytes(random: np.random.Generator, size: tuple[int, int]) -> bytes:
    coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    coarse.resize(size, Image.Resampling.BICUBIC).save(file := io.BytesIO(), "JPEG", quality=85)
    return file.getvalue()


def resident_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def allocated_bytes(is_first_part: bool) -> tuple[int, int]:
    """Return what is allocated and the most since the last call; the latter of Arrow, if it cannot be told, at most."""
    import pyarrow

    arrow = pyarrow.default_memory_pool()
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    return held + arrow.bytes_allocated(), peak + (arrow.max_memory() if is_first_part else arrow.bytes_allocated())


def work(table: Path, cap_bytes: int, size: tuple[int, int], is_traced: bool) -> dict[str, object]:
    """Runs in a process of its own, on a small table first, which pays for imports and buffers."""
    import torch

    torch.set_num_threads(1)
    (small := table.parent / "small").mkdir()
    few = write_table(small, FEW, size, per_group=1)
    if is_traced:
        # Every path passes through Python's table of interned strings, which takes 4 MB anew at moments of chance.
        pathlib.sys = SimpleNamespace(**{**vars(sys), "intern": str})
        tracemalloc.start()
    for turn in range(3):  # the first of which loads modules and fills their own caches
        *_, (held_before, peak_before) = run_chain(few, small / f"cache{turn}", CAP_BYTES)
    resident_before = resident_bytes()
    num_images, seconds, largest, (held, peak) = run_chain(table, table.parent / "cache", cap_bytes)
    row = {"images": num_images, "size": size, "cap_bytes": cap_bytes, "largest_bytes": largest}
    if is_traced:
        return {**row, "held_bytes": held - held_before, "peak_bytes": peak - peak_before}
    return {
        **row,
        "below_cap": largest <= cap_bytes,
        "microseconds_per_image": {name: round(1e6 * took / num_images, 1) for name, took in seconds.items()},
        "total_microseconds_per_image": round(1e6 * sum(seconds.values()) / num_images, 1),
        "resident_bytes": resident_bytes() - resident_before,
    }


def run_chain(table: Path, cache: Path, cap_bytes: int) -> tuple[int, dict[str, float], int, tuple[int, int]]:
    """Return the number of images, the seconds of every part, the store's largest size, and bytes held and at most."""
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
    view = Preprocessing(VIEW, "crop", 1.0, mean, std, "bilinear")
    prefix = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.AdaptiveAvgPool2d(2), nn.Flatten()).eval()
    store, seconds, largest, held, peak = Store(cache, cap_bytes), {}, 0, 0, 0
    mark = time.perf_counter()

    def lap(name):
        nonlocal mark, held, peak
        seconds[name] = time.perf_counter() - mark
        if tracemalloc.is_tracing():
            held, most = allocated_bytes(is_first_part=len(seconds) == 1)
            peak = max(peak, most)
        mark = time.perf_counter()

    dataset = index_dataset(table)
    images = assign_splits(dataset.images, val_fraction=0.15, test_fraction=0.15, seed=0)
    lap("index_and_split")
    sha256s = tuple(sha256_of_file(dataset.root / path) for path in images["path"])
    lap("hash")
    source = ImageSource(dataset.root, tuple(images["path"]), view, None, 0, sha256s, ImageCache(store))
    batches = in_order(len(source), BATCH)
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
    return len(source), seconds, max(largest, store.size_bytes()), (held, peak)


def repeats(size: int, sizes: list[int]) -> int:
    """Return how often a size is measured in a round: what takes a second is disturbed more than what takes minutes."""
    return 1 + 4 * round(math.log10(max(sizes) / size))


def measure(folder: str | None, num_images: int, picture: str, *, cap_bytes: int = CAP_BYTES, is_traced: bool = False):
    with tempfile.TemporaryDirectory(dir=folder) as own:
        table = write_table(Path(own), num_images, PICTURES[picture])
        os.sync()  # writing back would disturb the smallest most
        asked = [str(table), str(cap_bytes), picture, str(int(is_traced))]
        done = subprocess.run(
            [sys.executable, __file__, "--work", *asked], stdout=subprocess.PIPE, text=True, check=True
        )
    row = json.loads(done.stdout.splitlines()[-1])
    print(row, file=sys.stderr, flush=True)
    return row


def summarise_times(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median microseconds an image of each number of images, and the most of them over the least."""
    taken: dict[int, list[float]] = {row["images"]: [] for row in rows}
    for row in rows:
        taken[row["images"]].append(row["total_microseconds_per_image"])
    medians = {number: round(statistics.median(values), 1) for number, values in sorted(taken.items())}
    return {"microseconds_per_image": medians, **most_over_least(medians), "rows": rows}


def summarise_memory(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the bytes that each image holds, and those by which each further one raises the peak."""
    held = {row["images"]: round(row["held_bytes"] / (row["images"] - FEW), 1) for row in rows}
    peaks = {row["images"]: row["peak_bytes"] for row in rows}
    raised = {
        f"{few} to {many}": round((peaks[many] - peaks[few]) / (many - few), 1)
        for few, many in itertools.pairwise(sorted(peaks))
    }
    return {
        "held": {"bytes_per_image": held, **most_over_least(held)},
        "peak": {"bytes_per_further_image": raised, **most_over_least(raised)},
        "rows": rows,
    }


def most_over_least(figures: dict[Any, float]) -> dict[str, float]:
    return {"most_over_least": round(max(figures.values()) / min(figures.values()), 3), "floor": FLOOR}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--folder", help="where images and caches go; by default $TMPDIR")
    parser.add_argument("--work", nargs=4)
    asked = parser.parse_args()
    if asked.work:
        table, cap_bytes, picture, is_traced = asked.work
        print(json.dumps(work(Path(table), int(cap_bytes), PICTURES[picture], is_traced == "1")))
        return
    found = {}
    for part in asked.parts:
        if part in PICTURES:
            turns = [size for size in asked.sizes for _ in range(repeats(size, asked.sizes))]
            found[part] = summarise_times([measure(asked.folder, size, part) for size in turns])
        elif part == "memory":
            found[part] = summarise_memory(
                [measure(asked.folder, size, "64px", is_traced=True) for size in asked.sizes]
            )
        else:
            size = asked.sizes[len(asked.sizes) // 2]
            found[part] = measure(asked.folder, size, "64px", cap_bytes=size * VIEW * VIEW * 3 // 3)
    from result import RESULTS, write_result  # loads torch, whose memory a child would inherit in its peak

    kept = json.loads((RESULTS / "growth.json").read_text(encoding="utf-8"))
    write_result("growth", {**{part: kept[part] for part in PARTS if part in kept}, **found})


if __name__ == "__main__":
    main()
