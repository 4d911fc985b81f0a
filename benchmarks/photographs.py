"""Pictures for the benchmarks: real solar cells as JPEG photographs of any size."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fitwell.data.demo import elpv_dataset

SIZES = {"0.2MP": (500, 375), "1.2MP": (1280, 960), "12MP": (4000, 3000)}


def write_photographs(folder: Path, num_images: int, size: tuple[int, int], seed: int = 0) -> pd.DataFrame:
    """Write `num_images` cells as JPEG of quality 90 in `size`, with sensor noise; return path, label and group."""
    dataset = elpv_dataset()
    cells = dataset.images.sample(num_images, random_state=seed, replace=num_images > len(dataset.images))
    random = np.random.default_rng(seed)
    noise = random.normal(0, 3, (size[1], size[0], 1))
    paths = []
    for number, cell in enumerate(cells["path"]):
        with Image.open(dataset.root / cell) as image:
            large = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
        pixels = np.clip(large + np.roll(noise, int(random.integers(size[1])), axis=0), 0, 255).astype(np.uint8)
        path = folder / f"{number:05}.jpg"
        Image.fromarray(pixels).save(path, quality=90)
        paths.append(path.name)
    return cells.assign(path=paths).reset_index(drop=True)
