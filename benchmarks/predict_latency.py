"""B6: seconds for one picture of 224 px, PyTorch eager against the engines that run what fitwell froze.

The whole network is the frozen part here: backbone and head in evaluation. Random weights where no package has them;
they change no time. Every engine must agree with eager: cosine of the logits of solar cells at least 0.999.

    python benchmarks/predict_latency.py [--calls 12] [--rounds 3] [--threads 1]
"""

import argparse
from functools import partial

import numpy as np
import torch
from result import alternate, mean_interval, paired_ratio, write_result
from torch.nn import functional as F

from fitwell.data.demo import elpv_dataset
from fitwell.data.loader import ImageSource
from fitwell.data.transforms import Preprocessing
from fitwell.model.compute import Compute
from fitwell.model.engine import available_engines, build_engine
from fitwell.model.network import build_network, normalisation
from fitwell.model.weights import WHEEL_BACKBONE, load_backbone
from fitwell.recipe.schema import Head

SIZE, NUM_CLASSES, NUM_PICTURES = 224, 2, 8
BACKBONES = {WHEEL_BACKBONE: "wheel", "resnet18": "none"}
NEEDED_COSINE, FLOOR = 0.999, 3.0


def pictures(backbone):
    pixels = normalisation(backbone)
    view = Preprocessing(SIZE, "crop", 1.0, pixels.mean, pixels.std, pixels.interpolation)
    cells = elpv_dataset()
    source = ImageSource(cells.root, tuple(cells.images["path"][:NUM_PICTURES]), view, None, 0)
    return torch.stack([source.load(number, 0) for number in range(NUM_PICTURES)])


def engines(backbone, weights):
    """The ways to predict, by name; each with a network of its own, because a layout is the network's."""
    contiguous, channels_last = Compute(), Compute(memory_format="channels_last")
    ways = {"eager": ("eager", contiguous), "eager channels_last": ("eager", channels_last)}
    ways |= {name: (name, contiguous) for name in available_engines() if name not in ("eager", "compiled")}
    built = {}
    for name, (engine, compute) in ways.items():
        torch.manual_seed(0)
        network = build_network(load_backbone(backbone, weights), NUM_CLASSES, Head(dropout=0.0)).eval()
        compute.move_module(network)
        built[name] = build_engine(engine, network, compute, (3, SIZE, SIZE))
    return built


def measure(backbone, weights, calls, rounds):
    built, images = engines(backbone, weights), pictures(backbone)
    single = list(images.split(1))
    logits = {name: torch.cat([extract(image) for image in single]) for name, extract in built.items()}
    ways = {(name, call): partial(built[name], single[call % NUM_PICTURES]) for call in range(calls) for name in built}
    taken = alternate(ways, rounds)
    rows = {}
    for name in built:
        seconds = np.array([taken[name, call] for call in range(calls)])  # (calls, rounds)
        medians = {way: np.median([taken[way, call] for call in range(calls)], axis=0) for way in ("eager", name)}
        rows[name] = {
            "p50_milliseconds": round(1e3 * float(np.median(seconds)), 2),
            "p99_milliseconds": round(1e3 * float(np.quantile(seconds, 0.99)), 2),
            "p50_of_rounds_milliseconds": mean_interval((1e3 * medians[name]).tolist()),
            "times_eager": paired_ratio(medians["eager"].tolist(), medians[name].tolist()),
            "least_cosine": round(float(F.cosine_similarity(logits[name], logits["eager"]).min()), 6),
        }
    equal = [name for name in rows if rows[name]["least_cosine"] >= NEEDED_COSINE]
    best = min(equal, key=lambda name: rows[name]["p50_milliseconds"])
    return {"best": best, "reaches_floor": rows[best]["times_eager"]["ratio"] >= FLOOR, "ways": rows}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=12, help="of each way in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    rows = {name: measure(name, weights, asked.calls, asked.rounds) for name, weights in BACKBONES.items()}
    setup = {"calls": asked.calls, "threads": asked.threads, "size": SIZE, "batch": 1, "floor": FLOOR}
    write_result("predict_latency", {**setup, "backbones": rows})


if __name__ == "__main__":
    main()
