"""Tiny labelled pictures and recipes that tests make for themselves."""

from pathlib import Path

import numpy as np
from PIL import Image

from fitwell.data.preview import model_view
from fitwell.data.transforms import crop_plan, normalise
from fitwell.recipe.phase import Phase, Stages
from fitwell.recipe.schema import Augment, Color, Execution, Images, Model, Recipe

COLOURS = {"blue": (40, 60, 220), "green": (40, 200, 60), "red": (220, 50, 40)}


def write_pictures(folder: Path, per_class: int = 12, classes=tuple(COLOURS), side: int = 40, seed: int = 0) -> Path:
    """Write noisy one-colour PNGs, a folder for each class."""
    random = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            noise = random.normal(0, 40, (side, side, 3))
            pixels = np.clip(np.asarray(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02}.png")
    return folder


def evaluation_tensor(image, preprocessing):
    """What evaluation sees of a decoded image: (3, size, size) float32."""
    return normalise(np.asarray(model_view(image, crop_plan(preprocessing))), preprocessing)


def tiny_recipe(**changes) -> Recipe:
    """A recipe that trains a tiny network in a second, with nothing left to measure."""
    settings = {
        "model": Model(backbone="test_efficientnet", weights="none"),
        "images": Images(size=32, crop_fraction=1.0),
        "augment": Augment(views=2, color=Color()),
        "phases": (
            Phase(name="head", train="head", epochs=3, learning_rate=1e-2, warmup_epochs=1),
            Phase(name="fine-tune", train=Stages(stages=1), epochs=3, learning_rate=3e-3, schedule="plateau"),
        ),
        "execution": Execution(
            device="cpu",
            precision="float32",
            memory_format="channels_last",
            batch_size=8,
            engine="eager",
            pictures="stream",
            workers=0,
        ),
    }
    return Recipe(**{**settings, **changes})


def write_label_sets(folder: Path, num_images: int = 48, side: int = 40) -> Path:
    """Write noisy grey PNGs with a patch for each class that they show, and the table that says which; return that."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["path,label"]
    for number in range(num_images):
        shown = [name for place, name in enumerate(COLOURS) if number >> place & 1]  # every set as often
        pixels = np.full((side, side, 3), 128) + random.normal(0, 30, (side, side, 3))
        for place, name in enumerate(COLOURS):
            if name in shown:
                pixels[:, place * side // 3 : (place + 1) * side // 3] += np.asarray(COLOURS[name]) - 128
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number:02}.png")
        rows.append(f"{number:02}.png,{'|'.join(shown)}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder / "labels.csv"
