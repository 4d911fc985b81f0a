"""B5: feature extraction, PyTorch eager against every engine of fitwell on the same images; equal features required.

An engine whose features agree to less than cosine 0.999 on any image is reported, and never the chosen one. The share
of the peak is that of the machine probe's float32 matrix product, which is itself below the processor's peak.

    python benchmarks/extraction.py [--images 128] [--rounds 5] [--threads 1] [--compiled]
"""

import argparse
import tempfile
from pathlib import Path

import torch
from photographs import SIZES, write_photographs
from result import alternate, paired_ratio, probe_machine, write_result
from torch.nn import functional as F

from fitwell.data.loader import ImageSource
from fitwell.data.transforms import Preprocessing
from fitwell.model.compute import Compute
from fitwell.model.engine import available_engines, build_engine
from fitwell.model.network import normalisation
from fitwell.model.weights import WHEEL_BACKBONE, load_backbone

BATCH = 32
GIGAFLOPS_PER_IMAGE = 0.77  # of Lite0 at 224 px: twice its multiply-adds
NEEDED_COSINE = 0.999


def real_images(num_images):
    pixels = normalisation(WHEEL_BACKBONE)
    view = Preprocessing(224, "crop", 1.0, pixels.mean, pixels.std, pixels.interpolation)
    with tempfile.TemporaryDirectory() as folder:
        table = write_photographs(Path(folder), num_images, SIZES["0.2MP"])
        source = ImageSource(Path(folder), tuple(table["path"]), view, None, 0)
        return torch.stack([source.load(number, 0) for number in range(num_images)])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compiled", action="store_true", help="also torch.compile, a minute more")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    images = real_images(asked.images)
    plain, channels_last = Compute("cpu", memory_format="contiguous"), Compute("cpu", memory_format="channels_last")
    ways = {"torch eager": ("eager", plain), "eager channels_last": ("eager", channels_last)}
    ways |= {name: (name, channels_last) for name in available_engines() if name not in ("eager", "compiled")}
    if asked.compiled:
        ways["compiled"] = ("compiled", channels_last)
    extracts = {}
    for name, (engine, compute) in ways.items():
        backbone = load_backbone(WHEEL_BACKBONE, "wheel")
        compute.move_module(backbone)
        extracts[name] = build_engine(engine, backbone, compute, (3, 224, 224))

    def run(name):
        return torch.cat([extracts[name](batch) for batch in images.split(BATCH)])

    reference = run("torch eager")
    seconds = alternate({name: (lambda name=name: run(name)) for name in ways}, asked.rounds)
    peak = probe_machine()["gemm_float32_gigaflops"] * asked.threads
    rows = {}
    for name in ways:
        features = run(name)
        rate = asked.images / min(seconds[name])
        rows[name] = {
            "images_per_second": round(rate, 1),
            "times_torch_eager": paired_ratio(seconds["torch eager"], seconds[name]),
            "least_cosine": round(float(F.cosine_similarity(features, reference).min()), 6),
            "largest_difference": float((features - reference).abs().max()),
            "share_of_gemm_peak": round(rate * GIGAFLOPS_PER_IMAGE / peak, 3),
        }
    equal = [name for name in rows if rows[name]["least_cosine"] >= NEEDED_COSINE]
    chosen = max(equal, key=lambda name: rows[name]["images_per_second"])
    setup = {"images": asked.images, "threads": asked.threads, "batch": BATCH, "backbone": WHEEL_BACKBONE, "size": 224}
    write_result("extraction", {**setup, "chosen": chosen, "floor": 1.8, "ways": rows})


if __name__ == "__main__":
    main()
