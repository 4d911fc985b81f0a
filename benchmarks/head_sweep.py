"""B1: the best of 48 heads by fitwell, against one head by the textbook, by scikit-learn and by Keras.

All begin with the same JPEG files (1280 x 960) and the same Lite0 at 224 px, and end with one head; nothing is
augmented. fitwell: reduced decode, the fastest float32 engine, `search_heads` with 48 settings and the paths of ridge
and logistic regression, chosen on val. scikit-learn: PIL and torchvision, PyTorch eager, LogisticRegression (C = 1).
Keras: peers/keras_bottleneck.py, in a process of its own whose imports are not counted.
Textbook: PIL and torchvision in a DataLoader, a timm network with its backbone frozen, AdamW, 30 epochs. Of those,
--peer-epochs are run and timed and the rest is reckoned, because every one is the same work; its head is that of all 30
epochs, run on the features that the frozen backbone gives in each. Accuracy is that on test images which chose nothing.

    python benchmarks/head_sweep.py [--images 1000] [--rounds 5] [--peer-epochs 1] [--threads 2]
        [--peers-python PYTHON with keras]
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from photographs import SIZES, write_photographs
from PIL import Image
from result import mean_interval, paired_ratio, progress, write_result
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as tv

from fitwell.data.loader import ImageSource, load_batches
from fitwell.data.transforms import Preprocessing
from fitwell.evaluation.metrics import accuracy, softmax
from fitwell.model.activations import in_order
from fitwell.model.compute import Compute
from fitwell.model.engine import available_engines, build_engine
from fitwell.model.network import normalisation
from fitwell.model.weights import WHEEL_BACKBONE, load_backbone
from fitwell.training.head_search import HeadData, default_settings, search_heads

EPOCHS, BATCH, CLASSES = 30, 32, 2
KERAS = Path(__file__).parent / "peers" / "keras_bottleneck.py"
PIXELS = normalisation(WHEEL_BACKBONE)


class Photographs(Dataset):
    """What a textbook writes."""

    def __init__(self, paths, labels):
        self.paths, self.labels = paths, labels
        steps = [tv.Resize(224), tv.CenterCrop(224), tv.ToTensor(), tv.Normalize(PIXELS.mean, PIXELS.std)]
        self.transform = tv.Compose(steps)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.transform(Image.open(self.paths[index]).convert("RGB")), self.labels[index]


class Data:
    """Files and labels of train, val and test."""

    def __init__(self, folder, num_images, seed=0):
        table = write_photographs(folder, num_images, SIZES["1.2MP"])
        self.folder, labels = folder, (table["label"] == "defective").to_numpy().astype(np.int64)
        rest, test = train_test_split(np.arange(num_images), test_size=0.3, stratify=labels, random_state=seed)
        train, val = train_test_split(rest, test_size=0.3, stratify=labels[rest], random_state=seed)
        parts = (train, val, test)
        self.names = [table["path"].to_numpy()[part].tolist() for part in parts]
        self.labels = [labels[part] for part in parts]

    def photographs(self, part):
        return Photographs([self.folder / name for name in self.names[part]], self.labels[part].tolist())

    def write_split(self):
        """Return the path of a table of path, label and split."""
        parts = [
            pd.DataFrame({"path": [str(self.folder / name) for name in names], "label": labels, "split": split})
            for split, names, labels in zip(("train", "val", "test"), self.names, self.labels, strict=True)
        ]
        pd.concat(parts).to_csv(self.folder / "split.csv", index=False)
        return self.folder / "split.csv"


def eager_backbone():
    """The timm backbone, contiguous: as it comes."""
    return load_backbone(WHEEL_BACKBONE, "wheel").eval().requires_grad_(False)


def fitwell(data, engine):
    view = Preprocessing(224, "crop", 1.0, PIXELS.mean, PIXELS.std, PIXELS.interpolation)
    compute, backbone = Compute("cpu", memory_format="channels_last"), eager_backbone()
    compute.move_module(backbone)
    extract = build_engine(engine, backbone, compute, (3, 224, 224))
    features = []
    for names in data.names[:2]:
        batches = load_batches(
            ImageSource(data.folder, tuple(names), view, None, 0), in_order(len(names)), epoch=0, workers=0
        )
        features.append(torch.cat([extract(images) for images, _ in batches]))
    heads = HeadData(
        train_views=[features[0]],
        train_labels=torch.from_numpy(data.labels[0]),
        image_weights=torch.ones(len(data.labels[0])),
        val_features=features[1],
        val_labels=torch.from_numpy(data.labels[1]),
        num_classes=CLASSES,
    )
    settings = {"epochs": EPOCHS, "batch_size": BATCH, "metric": "accuracy", "seed": 0}
    found = search_heads(heads, default_settings(), on_epoch=lambda epoch, value: None, **settings)
    weight, bias = found.mean()  # as `fitwell train` takes it
    return lambda features: softmax((features @ weight.T + bias).numpy())


def eager_features(data, part):
    backbone = eager_backbone()
    with torch.no_grad():
        loader = DataLoader(data.photographs(part), batch_size=BATCH)
        return torch.cat([backbone(images) for images, _ in loader])


def scikit_learn(data):
    train, val = (eager_features(data, part).numpy() for part in (0, 1))
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train, data.labels[0])
    regression.predict_proba(val)
    return lambda features: regression.predict_proba(features.numpy())


def train_epoch(network, loader, optimizer):
    for inputs, labels in loader:
        optimizer.zero_grad()
        F.cross_entropy(network(inputs), labels).backward()
        optimizer.step()


def textbook_seconds(data, num_epochs):
    """Return the seconds of all epochs, of which `num_epochs` are run; val is judged once, at the end."""
    head = nn.Linear(timm.create_model(WHEEL_BACKBONE, num_classes=0).num_features, CLASSES)
    network = nn.Sequential(eager_backbone(), head)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    started = time.perf_counter()
    for _ in range(num_epochs):
        train_epoch(network, DataLoader(data.photographs(0), batch_size=BATCH, shuffle=True), optimizer)
    return (time.perf_counter() - started) * EPOCHS / num_epochs


def textbook_head(data):
    """Run all epochs of the textbook on the features that its frozen backbone gives in each of them."""
    torch.manual_seed(0)
    train = eager_features(data, 0)
    head = nn.Linear(train.shape[1], CLASSES)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    rows = torch.utils.data.TensorDataset(train, torch.from_numpy(data.labels[0]))
    for _ in range(EPOCHS):
        train_epoch(head, DataLoader(rows, batch_size=BATCH, shuffle=True), optimizer)
    return lambda features: softmax(head(features).detach().numpy())


def keras(data, python, threads):
    """Return the peer's record: its seconds and probabilities of the test images."""
    result = data.folder / "keras.json"
    asked = ["--epochs", str(EPOCHS), "--threads", str(threads)]
    command = [python, str(KERAS), str(data.write_split()), str(result), *asked]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return json.loads(result.read_text(encoding="utf-8"))


def fastest_engine():
    """Return the float32 engine that is fastest here; `extraction.py` compares all with care."""
    images, seconds = torch.randn(BATCH, 3, 224, 224), {}
    for name in available_engines():
        if name != "compiled" and not name.endswith("bfloat16"):
            compute, backbone = Compute("cpu", memory_format="channels_last"), eager_backbone()
            compute.move_module(backbone)
            extract = build_engine(name, backbone, compute, (3, 224, 224))
            extract(images)
            started = time.perf_counter()
            extract(images)
            seconds[name] = time.perf_counter() - started
    return min(seconds, key=seconds.get)


def accuracies(probs, labels):
    """Return everyone's accuracy, and how much higher fitwell's is: the mean over images with its interval."""
    right = {name: probs[name].argmax(axis=1) == labels for name in probs}
    gains = {name: mean_interval(right["fitwell"].astype(float) - right[name]) for name in probs if name != "fitwell"}
    return {
        "test_accuracy": {name: round(accuracy(probs[name], labels), 4) for name in probs},
        "test_accuracy_gain": {
            name: {key: gain[key] for key in ("mean", "interval", "n")} for name, gain in gains.items()
        },
    }


def measure(data, engine, asked):
    """Return the seconds of everyone in every round, and everyone's probabilities of the test images."""
    seconds, heads, record = defaultdict(list), {}, None
    for _ in range(asked.rounds):
        for name, work in (("fitwell", lambda: fitwell(data, engine)), ("scikit_learn", lambda: scikit_learn(data))):
            started = time.perf_counter()
            heads[name] = work()
            seconds[name].append(time.perf_counter() - started)
        seconds["textbook"].append(textbook_seconds(data, asked.peer_epochs))
        if asked.peers_python:
            record = keras(data, asked.peers_python, asked.threads)
            seconds["keras"].append(record["seconds"])
        progress(str({name: round(values[-1], 1) for name, values in seconds.items()}))
    test = eager_features(data, 2)
    probs = {name: head(test) for name, head in {**heads, "textbook": textbook_head(data)}.items()}
    if record:
        probs["keras"] = np.array(record["test_probabilities"])
    return seconds, probs


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers-python")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as folder:
        data = Data(Path(folder), asked.images)
        engine = fastest_engine()
        seconds, probs = measure(data, engine, asked)
    write_result(
        "head_sweep",
        {
            "images": asked.images,
            "num_train_val_test": [len(labels) for labels in data.labels],
            "epochs": EPOCHS,
            "heads": len(default_settings()),
            "threads": asked.threads,
            "engine": engine,
            "floors": {"textbook": 20, "scikit_learn": 2},
            "times_faster": {
                name: paired_ratio(values, seconds["fitwell"]) for name, values in seconds.items() if name != "fitwell"
            },
            "seconds": {name: mean_interval(values) for name, values in seconds.items()},
            **accuracies(probs, data.labels[2]),
        },
    )


if __name__ == "__main__":
    main()
