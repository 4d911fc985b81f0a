"""B3, B4: one thread from JPEG to pixels; cold against torchvision's Resize, warm against DataLoader(PIL).

Cold: a file to 256 x 256 uint8. The peer decodes all of it, resizes and crops (torchvision, Pillow, antialiased). PSNR
is that of our picture against our own way from the full decode. Warm: random crop (70 to 100 % of the area), flip and
normalisation to 224 px float32; the peer decodes every time, fitwell cuts from its image cache, filled before.

    python benchmarks/decode.py [--rounds 5] [--megapixels 0.2MP 1.2MP 12MP]
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from photographs import SIZES, write_photographs
from PIL import Image
from result import alternate, mean_interval, paired_ratio, write_result
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as tv

from fitwell.data.decode import decode_image
from fitwell.data.image_cache import ImageCache, prepare_picture
from fitwell.data.loader import ImageSource, epoch_batches, load_batches
from fitwell.data.preview import model_view
from fitwell.data.transforms import Preprocessing, crop_plan
from fitwell.data.variation import Augmentation
from fitwell.files import sha256_of_file
from fitwell.store import Store

NUM_IMAGES = {"0.2MP": 200, "1.2MP": 60, "12MP": 10}
FLOORS = {"0.2MP": 1.0, "1.2MP": 1.6, "12MP": 3.5}
MEAN = STD = (0.5, 0.5, 0.5)
COLD = Preprocessing(256, "crop", 1.0, MEAN, STD, "bilinear")
WARM = Preprocessing(224, "crop", 1.0, MEAN, STD, "bilinear")
AREA = (0.7, 1.0)
BATCH = 32


class Photographs(Dataset):
    """What a textbook writes."""

    def __init__(self, paths):
        self.paths = paths
        self.transform = tv.Compose(
            [tv.RandomResizedCrop(224, scale=AREA), tv.RandomHorizontalFlip(), tv.ToTensor(), tv.Normalize(MEAN, STD)]
        )

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


def psnr(ours, exact):
    error = np.mean((np.asarray(ours, dtype=float) - np.asarray(exact, dtype=float)) ** 2)
    return float(10 * np.log10(255**2 / error)) if error > 0 else 99.0


def cold(paths, rounds):
    resize = tv.Compose([tv.Resize(256), tv.CenterCrop(256)])
    ways = {
        "torchvision": lambda: [np.asarray(resize(Image.open(path).convert("RGB"))) for path in paths],
        "fitwell": lambda: [np.asarray(prepare_picture(path, COLD, None)) for path in paths],
    }
    seconds = alternate(ways, rounds)
    decibels = [
        psnr(prepare_picture(path, COLD, None), model_view(decode_image(path), crop_plan(COLD))) for path in paths
    ]
    return {**rates(seconds, len(paths)), "least_psnr": round(min(decibels), 2)}


def warm(paths, rounds, cache):
    source = ImageSource(
        paths[0].parent,
        tuple(path.name for path in paths),
        WARM,
        Augmentation(flip="horizontal", crop_area=AREA),
        0,
        tuple(map(sha256_of_file, paths)),
        ImageCache(Store(cache, 2**32)),
    )
    uncached = replace(source, cache=None)
    batches = epoch_batches(len(paths), BATCH, seed=0, epoch=0)
    loader = DataLoader(Photographs(paths), batch_size=BATCH, shuffle=True, num_workers=0)
    ways = {
        "torchvision": lambda: [batch.shape for batch in loader],
        "fitwell": lambda: [batch.shape for batch, _ in load_batches(source, batches, epoch=0, workers=0)],
    }
    seconds = alternate(ways, rounds)
    first = range(min(8, len(paths)))
    equal = all(torch.equal(source.load(image, 1), uncached.load(image, 1)) for image in first)
    return {**rates(seconds, len(paths)), "cached_equals_uncached": equal}


def rates(seconds, num_images):
    speeds = {f"{name}_images_per_second": [num_images / each for each in took] for name, took in seconds.items()}
    ratio = paired_ratio(seconds["torchvision"], seconds["fitwell"])
    return {"ratio": ratio, **{name: mean_interval(values) for name, values in speeds.items()}}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megapixels", nargs="+", choices=list(SIZES), default=list(SIZES))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = {}
    for name in asked.megapixels:
        with tempfile.TemporaryDirectory() as folder:
            (images := Path(folder) / "images").mkdir()
            paths = [images / path for path in write_photographs(images, NUM_IMAGES[name], SIZES[name])["path"]]
            rows[name] = {
                "images": len(paths),
                "cold": {"floor": FLOORS[name], **cold(paths, asked.rounds)},
                "warm": {"floor": 3.0, **warm(paths, asked.rounds, Path(folder) / "cache")},
            }
    write_result("decode", {"threads": 1, "page_cache": "warm", "pixels": SIZES, "sizes": rows})


if __name__ == "__main__":
    main()
