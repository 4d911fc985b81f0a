"""Index and split of tables with up to a million rows: time and peak memory; and what a second core gives the scan.

The images are hard links to 64 small PNGs in folders of 1,000, with groups of 5 rows. Every size runs in a process of
its own, so that the peak memory is its own. The scan opens, hashes and decodes every image of a smaller table of larger
pictures, in alternation with one and with two threads.

    python benchmarks/scale.py
"""

import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = (10_000, 100_000, 1_000_000)
ORIGINALS = 64  # a file system allows some 65,000 links to one file
SCANNED, SCANNED_SIDE, PAIRS = 1_000, 300, 5


def write_table(folder: Path, num_rows: int, side: int) -> Path:
    random = np.random.default_rng(0)
    originals = []
    for number in range(ORIGINALS):
        path = folder / f"original{number}.png"
        Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
        originals.append(path)
    table = folder / "labels.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group"])
        for row in range(num_rows):
            if row % 1000 == 0:
                (folder / f"f{row // 1000:04}").mkdir()
            name = f"f{row // 1000:04}/{row:07}.png"
            os.link(originals[row % ORIGINALS], folder / name)
            writer.writerow([name, f"class{int(random.integers(10))}", f"g{row // 5}"])
    return table


def index_and_split(table: Path) -> dict[str, float]:
    """Runs in a process of its own."""
    from fitwell.data.index import index_dataset
    from fitwell.data.split import assign_splits, read_split, split_hash, write_split

    started = time.monotonic()
    dataset = index_dataset(table)
    indexed = time.monotonic()
    images = assign_splits(dataset.images, val_fraction=0.15, test_fraction=0.15, seed=0)
    split_hash(images)
    divided = time.monotonic()
    write_split(table.with_name("split.csv"), images.assign(sha256="0" * 64))
    rows = len(read_split(table.with_name("split.csv")))
    done = time.monotonic()
    return {
        "rows": rows,
        "index_seconds": round(indexed - started, 2),
        "split_seconds": round(divided - indexed, 2),
        "write_and_read_seconds": round(done - divided, 2),
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def scan_seconds(table: Path, threads: int) -> float:
    from fitwell.data.check.measure import scan_images
    from fitwell.data.index import index_dataset

    dataset = index_dataset(table)
    started = time.monotonic()
    scan_images(dataset, threads)
    return time.monotonic() - started


def main() -> None:
    sizes = []
    for num_rows in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            table = write_table(Path(folder), num_rows, side=8)
            done = subprocess.run([sys.executable, __file__, str(table)], capture_output=True, text=True, check=True)
            sizes.append(json.loads(done.stdout))
            print(sizes[-1], file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        table = write_table(Path(folder), SCANNED, side=SCANNED_SIDE)
        pairs = [(scan_seconds(table, 1), scan_seconds(table, 2)) for _ in range(PAIRS)]
    from result import mean_interval, write_result  # loads torch, whose memory a child would inherit in its peak

    write_result(
        "scale",
        {
            "sizes": sizes,
            "scan": {
                "images": SCANNED,
                "side": SCANNED_SIDE,
                "one_thread_images_per_second": mean_interval([SCANNED / one for one, _ in pairs]),
                "two_threads_images_per_second": mean_interval([SCANNED / two for _, two in pairs]),
                "gain": mean_interval([one / two for one, two in pairs]),
            },
        },
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(index_and_split(Path(sys.argv[1]))))
    else:
        main()
