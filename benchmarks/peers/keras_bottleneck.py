"""Keras 3 on PyTorch, bottleneck style: features by the frozen backbone once, then a small model on them.

Source: F. Chollet, "Building powerful image classification models using very little data", 2016, and Keras' guide
"Transfer learning & fine-tuning": the head is a dropout of 0.2 and a dense layer, trained by Adam at 0.001. Same
backbone, weights, 224 px and images as fitwell; nothing is augmented. Runs in an environment of its own (README.md).

    python benchmarks/peers/keras_bottleneck.py SPLIT.csv RESULT.json [--epochs 30] [--threads 2]

SPLIT.csv has the columns path, label (0, 1, ...) and split. RESULT.json has the seconds from the files to the head, val
judged, imports not counted, and the probabilities of the test images, which are not timed.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"
import keras
import numpy as np
import pandas as pd
import timm
import torch
from lite0 import NAME, fill, pixel_statistics

IMAGE_SIZE, BATCH = 224, 32


class Photographs(keras.utils.PyDataset):
    """Batches of pictures, their middle cut out, as the backbone was pretrained to see them."""

    def __init__(self, paths):
        super().__init__()
        self.paths = paths
        self.mean, self.std = (np.asarray(values, dtype=np.float32) for values in pixel_statistics())

    def __len__(self):
        return math.ceil(len(self.paths) / BATCH)

    def __getitem__(self, index):
        pictures = [self.read(path) for path in self.paths[index * BATCH : (index + 1) * BATCH]]
        return np.stack(pictures).transpose(0, 3, 1, 2)

    def read(self, path):
        size = (IMAGE_SIZE, IMAGE_SIZE)
        picture = keras.utils.load_img(path, target_size=size, interpolation="bicubic", keep_aspect_ratio=True)
        return (keras.utils.img_to_array(picture) / 255 - self.mean) / self.std


def extractor():
    backbone = fill(timm.create_model(NAME, num_classes=0)).requires_grad_(False)
    inputs = keras.Input((3, IMAGE_SIZE, IMAGE_SIZE))
    wrapper = keras.layers.TorchModuleWrapper(backbone, output_shape=(None, backbone.num_features))
    return keras.Model(inputs, wrapper(inputs))


def train(paths, labels, epochs):
    """Return the head and what makes its features, from the files of train and val."""
    extract = extractor()
    train, val = (extract.predict(Photographs(paths[part]), verbose=0) for part in ("train", "val"))
    num_classes = len(np.unique(labels["train"]))
    head = keras.Sequential([keras.layers.Dropout(0.2), keras.layers.Dense(num_classes, activation="softmax")])
    head.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    head.fit(train, labels["train"], batch_size=BATCH, epochs=epochs, verbose=0)
    head.evaluate(val, labels["val"], verbose=0)
    return head, extract


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("split", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    keras.utils.set_random_seed(0)
    table = pd.read_csv(asked.split)
    paths = {part: rows["path"].tolist() for part, rows in table.groupby("split")}
    labels = {part: rows["label"].to_numpy() for part, rows in table.groupby("split")}
    started = time.perf_counter()
    head, extract = train(paths, labels, asked.epochs)
    seconds = time.perf_counter() - started
    probs = head.predict(extract.predict(Photographs(paths["test"]), verbose=0), verbose=0)
    record = {"seconds": seconds, "test_probabilities": probs.tolist()}
    asked.result.write_text(json.dumps(record))


if __name__ == "__main__":
    main()
