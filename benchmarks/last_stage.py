"""B2: tuning the last stage, a textbook loop of PyTorch and timm against fitwell's cached phase.

speed: images a second of a training epoch, files decoded before for both; Lite0, and ResNet-18 with random weights. The
textbook freezes the prefix by requires_grad=False and evaluation mode; "channels_last" is one that knows that trick.
fitwell's epochs cycle through K views kept once: their price stands beside, and the seconds of 20 epochs with it.

accuracy: best val numbers of Lite0 with the same augmentations, images, epochs and rates, over seeds: textbook, fitwell
without a cache (fresh), and fitwell with K = 1, 2, 4, 8 kept views.

    python benchmarks/last_stage.py speed [--images 96] [--rounds 3] [--threads 2]
    python benchmarks/last_stage.py accuracy {elpv, LABELS.csv} [--images 400] [--size 96] [--epochs 8] [--seeds 5]
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import timm
import torch
from photographs import SIZES, write_photographs
from result import alternate, mean_interval, paired_ratio, progress, write_result
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from fitwell import classifier
from fitwell.data.demo import elpv_dataset
from fitwell.data.loader import ImageSource, epoch_batches
from fitwell.data.split import read_split
from fitwell.data.transforms import Preprocessing
from fitwell.evaluation.metrics import all_metrics, softmax
from fitwell.files import read_json_lines, sha256_of_file
from fitwell.model.activations import activation_shelf, keep_activations
from fitwell.model.compute import Compute
from fitwell.model.engine import available_engines, build_engine
from fitwell.model.freeze import set_trainable
from fitwell.model.network import build_network, normalisation
from fitwell.model.weights import WHEEL_BACKBONE, load_backbone
from fitwell.recipe.phase import Phase, Stages
from fitwell.recipe.schema import Head, Recipe
from fitwell.store import Store
from fitwell.training.loop import PhaseWork, Progress, train_phase
from fitwell.training.optimizer import build_optimizer
from fitwell.training.phase_data import PhaseData
from fitwell.training.pictures import augmentation_of, preprocessing_of

BATCH, CLASSES, EPOCHS_RECKONED = 32, 2, 20
RATE, DECAY, SMOOTHING = 1e-3, 0.05, 0.1
VIEWS = (1, 2, 4, 8)
BACKBONES = {WHEEL_BACKBONE: ("wheel", 5.0), "resnet18": ("none", 2.0)}


class Textbook:
    """A timm network whose last stage and classifier train."""

    def __init__(self, name, num_classes, channels_last):
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network = timm.create_model(name, num_classes=num_classes)
        if BACKBONES[name][0] == "wheel":
            pretrained = load_backbone(name, "wheel").state_dict()
            self.network.load_state_dict(pretrained, strict=False)
        self.network.to(memory_format=self.layout).requires_grad_(False)
        lite = ("blocks.6", "conv_head", "bn2", "classifier")
        self.trained = [self.network.get_submodule(part) for part in (lite if "lite0" in name else ("layer4", "fc"))]
        for part in self.trained:
            part.requires_grad_(True)
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)

    def step(self, images, labels):
        self.optimizer.zero_grad()
        logits = self.network(images.to(memory_format=self.layout))
        F.cross_entropy(logits, labels, label_smoothing=SMOOTHING).backward()
        self.optimizer.step()

    def epoch(self, batches):
        self.network.eval()  # a frozen prefix keeps its statistics
        for part in self.trained:
            part.train()
        for images, labels in batches:
            self.step(images, labels)


def prepare_speed(name, folder, paths, labels):
    """Return the textbooks' epochs and fitwell's, and the seconds that one kept view of all images took."""
    weights = BACKBONES[name][0]
    pixels = normalisation(name)
    view = Preprocessing(224, "crop", 1.0, pixels.mean, pixels.std, pixels.interpolation)
    sha256s = tuple(sha256_of_file(folder / path) for path in paths)
    source = ImageSource(folder, tuple(paths), view, None, 0, sha256s)
    images = torch.stack([source.load(image, 0) for image in range(len(source))])
    network = build_network(load_backbone(name, weights), CLASSES, Head(dropout=0.0))
    set_trainable(network, Stages(stages=1))
    compute = Compute("cpu", memory_format="channels_last")
    compute.move_module(network)
    prefix = network.prefix(network.boundary())
    engine = next(choice for choice in ("openvino", "onnxruntime", "eager") if choice in available_engines())
    extract = build_engine(engine, prefix, compute, (3, 224, 224))
    shelf = activation_shelf(Store(folder / "cache", 2**34), prefix, view, engine)
    started = time.perf_counter()
    for batch in images.split(BATCH):
        extract(batch)
    view_seconds = time.perf_counter() - started
    kept = keep_activations(source, 0, shelf=shelf, extract=extract, workers=0)

    def batches_of(rows):
        return [(rows[torch.from_numpy(batch)], labels[batch]) for batch in epochs[0]]

    epochs = [epoch_batches(len(source), BATCH, seed=0, epoch=0)]
    ways = {}
    for title, channels_last in (("textbook", False), ("textbook channels_last", True)):
        textbook = Textbook(name, CLASSES, channels_last)
        ways[title] = lambda textbook=textbook: textbook.epoch(batches_of(images))
    ways["fitwell"] = cached_epoch(network, compute, kept, labels)
    sizes = {"engine": engine, "kept_bytes_per_image": kept[np.arange(1)].numel() * 2}
    return ways, view_seconds, sizes


def cached_epoch(network, compute, kept, labels):
    """Return one epoch of fitwell's loop; val is left out, as in the textbook's."""
    phase = Phase(name="stage", train=Stages(stages=1), epochs=1, learning_rate=RATE, schedule="constant")
    recipe = Recipe.model_validate({"select": {"metric": "accuracy"}})

    def train_batches(epoch, skip):
        for batch in epoch_batches(len(kept), BATCH, seed=0, epoch=epoch)[skip:]:
            yield kept[batch].float(), batch

    def val_batches():
        yield kept[np.arange(2)].float(), np.arange(2)

    work = PhaseWork(
        phase=phase,
        recipe=recipe,
        network=network,
        data=PhaseData(network.tail(network.boundary()), train_batches, val_batches),
        compute=compute,
        classes=("a", "b"),
        labels=labels,
        weights=torch.ones(len(labels)),
        val_labels=np.array([0, 1]),
        steps_per_epoch=-(-len(labels) // BATCH),
        first_epoch=0,
        keep_best=lambda record: None,
    )
    optimizer = build_optimizer(network, recipe.optimizer)
    return lambda: train_phase(work, Progress(), optimizer, observers=(), checkpoint=lambda now: None)


def measure_speed(asked):
    torch.set_num_threads(asked.threads)
    rows = {}
    for name, (_, floor) in BACKBONES.items():
        with tempfile.TemporaryDirectory() as folder:
            table = write_photographs(Path(folder), asked.images, SIZES["0.2MP"])
            labels = torch.from_numpy((table["label"] == "defective").to_numpy().astype(np.int64))
            ways, view_seconds, sizes = prepare_speed(name, Path(folder), list(table["path"]), labels)
            seconds = alternate(ways, asked.rounds)
        epoch = min(seconds["fitwell"])
        textbook = EPOCHS_RECKONED * min(seconds["textbook"])
        rows[name] = {
            "floor": floor,
            **sizes,
            "times_faster": {way: paired_ratio(seconds[way], seconds["fitwell"]) for way in ways if way != "fitwell"},
            "images_per_second": {way: mean_interval([asked.images / each for each in seconds[way]]) for way in ways},
            "seconds_of_one_view": round(view_seconds, 2),
            f"times_faster_over_{EPOCHS_RECKONED}_epochs_with_views": {
                views: round(textbook / (views * view_seconds + EPOCHS_RECKONED * epoch), 2) for views in VIEWS
            },
        }
    write_result(
        "last_stage_speed", {"images": asked.images, "threads": asked.threads, "batch": BATCH, "backbones": rows}
    )


class Labelled(Dataset):
    """fitwell's augmented pictures, so that the textbook sees the same augmentations; afresh in every epoch."""

    def __init__(self, source, labels, epoch):
        self.source, self.labels, self.epoch = source, labels, epoch

    def __len__(self):
        return len(self.source)

    def __getitem__(self, image):
        return self.source.load(image, self.epoch), self.labels[image]


def train_textbook(run, recipe, sources, labels, asked):
    """Return the val metrics after every epoch."""
    torch.manual_seed(recipe.seed)
    textbook = Textbook(WHEEL_BACKBONE, int(labels["train"].max()) + 1, channels_last=True)
    steps = asked.epochs * -(-len(labels["train"]) // recipe.execution.batch_size)
    warmup = steps // asked.epochs
    schedule = torch.optim.lr_scheduler.SequentialLR(
        textbook.optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(textbook.optimizer, 1 / warmup, total_iters=warmup),
            torch.optim.lr_scheduler.CosineAnnealingLR(textbook.optimizer, steps - warmup),
        ],
        [warmup],
    )
    textbook.optimizer.register_step_post_hook(lambda *_: schedule.step())
    epochs = []
    for epoch in range(asked.epochs):
        train = Labelled(sources["train"], labels["train"], epoch)
        textbook.epoch(DataLoader(train, batch_size=recipe.execution.batch_size, shuffle=True, drop_last=False))
        textbook.network.eval()
        with torch.inference_mode():
            val = DataLoader(Labelled(sources["val"], labels["val"], 0), batch_size=BATCH)
            logits = torch.cat([textbook.network(images) for images, _ in val]).numpy()
        epochs.append(all_metrics(softmax(logits), labels["val"]))
    return epochs


def train_one(dataset, seed, views, folder, asked):
    """Train by fitwell with `views` kept, "fresh" or by the "textbook"; return seconds and best val numbers."""
    phase = {"name": "stage", "train": {"stages": 1}, "epochs": asked.epochs, "learning_rate": RATE, "warmup_epochs": 1}
    settings = {
        "seed": seed,
        "phases": [phase],
        "augment.views": views if isinstance(views, int) else 1,
        "images.size": asked.size,
        "split.val_fraction": 0.3,
        "balance.class_weights": "none",
        "select.metric": "accuracy",
        "execution.cache": "auto" if isinstance(views, int) else "none",
        "execution.precision": "float32",
        "execution.memory_format": "channels_last",
        "execution.device": "cpu",
        "execution.workers": 0,
    }
    prepared = classifier.prepare(dataset, classifier.read_settings("auto", settings), "warn")
    run = classifier.start(prepared, folder, f"{seed}-{views}")
    started = time.perf_counter()
    if views == "textbook":
        epochs = train_textbook(run, prepared.recipe, *sources_of(prepared, run), asked)
    else:
        from fitwell.training.session import continue_run

        continue_run(run)
        epochs = [record["val"] for record in read_json_lines(run.history) if record["kind"] == "epoch"]
    row = {"seconds": round(time.perf_counter() - started, 1)}
    return row | {name: max(epoch[name] for epoch in epochs) for name in ("accuracy", "balanced_accuracy", "macro_f1")}


def sources_of(prepared, run):
    images, sources, labels = read_split(run.split), {}, {}
    for part in ("train", "val"):
        rows = images[images["split"] == part]
        labels[part] = np.array([prepared.classes.index(label) for label in rows["label"]])
        sources[part] = ImageSource(
            prepared.dataset.root, tuple(rows["path"]), preprocessing_of(prepared.recipe), None, prepared.recipe.seed
        )
    sources["train"] = replace(sources["train"], augmentation=augmentation_of(prepared.recipe))
    return sources, labels


def measure_accuracy(asked):
    whole = elpv_dataset() if asked.data == "elpv" else classifier.read_dataset(Path(asked.data))
    # Drawn without their groups: a val set of few groups would drown any difference in noise.
    images = whole.images.drop(columns="group", errors="ignore").sample(asked.images, random_state=0)
    dataset = replace(whole, images=images.reset_index(drop=True))
    ways = ("textbook", "fresh", *VIEWS)
    rows = {str(way): [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        for seed in range(asked.seeds):
            for way in ways:
                rows[str(way)].append(train_one(dataset, seed, way, Path(folder) / "runs", asked))
                progress(f"seed {seed}, {way}: {rows[str(way)][-1]}")

    def summary(way, metric):
        values = [row[metric] for row in rows[way]]
        fresh = [row[metric] for row in rows["fresh"]]
        less = [value - other for value, other in zip(values, fresh, strict=True)]
        return {"best_val": mean_interval(values, bounds=(0, 1)), "minus_fresh": mean_interval(less)}

    name = "elpv" if asked.data == "elpv" else Path(asked.data).resolve().parent.name
    content = {"images": asked.images, "size": asked.size, "epochs": asked.epochs}
    for metric in ("accuracy", "balanced_accuracy", "macro_f1"):
        content[metric] = {way: summary(way, metric) for way in rows}
    content["seconds"] = {way: mean_interval([row["seconds"] for row in rows[way]]) for way in rows}
    write_result(f"last_stage_accuracy_{name}", content)


def main() -> None:
    parser = argparse.ArgumentParser()
    kinds = parser.add_subparsers(dest="kind", required=True)
    speed, accuracy = kinds.add_parser("speed"), kinds.add_parser("accuracy")
    speed.add_argument("--images", type=int, default=96)
    speed.add_argument("--rounds", type=int, default=3)
    speed.add_argument("--threads", type=int, default=2)
    accuracy.add_argument("data")
    accuracy.add_argument("--images", type=int, default=400)
    accuracy.add_argument("--size", type=int, default=96)
    accuracy.add_argument("--epochs", type=int, default=8)
    accuracy.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    {"speed": measure_speed, "accuracy": measure_accuracy}[asked.kind](asked)


if __name__ == "__main__":
    main()
