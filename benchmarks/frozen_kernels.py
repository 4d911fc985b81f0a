"""A step of what the default recipe fine-tunes, EfficientNet-Lite0's last two stages: what the depthwise kernels cost.

Kernels that train, kernels at rest by PyTorch's own gradients, and at rest by fitwell's, in float32 and in bfloat16, on
32 solar cells' kept activations. Beside the times how the gradients agree with those of the same step by PyTorch in
float32: cosine, 1 is best.

    python benchmarks/frozen_kernels.py [--size 224] [--rounds 9] [--threads 2]
"""

import argparse
import copy

import torch
from result import alternate, mean_interval, paired_ratio, write_result
from torch.nn import functional as F

from fitwell.data.demo import elpv_dataset
from fitwell.data.loader import ImageSource
from fitwell.data.transforms import Preprocessing
from fitwell.model.compute import Compute
from fitwell.model.depthwise_at_rest import DepthwiseAtRest
from fitwell.model.fixed_norms import absorb_norms, without_norms
from fitwell.model.freeze import prepare_to_train
from fitwell.model.network import build_network, normalisation
from fitwell.model.weights import WHEEL_BACKBONE, load_backbone
from fitwell.recipe.phase import Phase, Stages
from fitwell.recipe.schema import Head

BATCH, CLASSES = 32, 2
PHASE = {"name": "fine-tune", "train": Stages(stages=2), "epochs": 1, "learning_rate": 1e-3, "batch_norm": "fixed"}


def cells(size):
    """Return the pictures of 32 cells of 32 modules, half of them defective, as the network gets them."""
    dataset, pixels = elpv_dataset(), normalisation(WHEEL_BACKBONE)
    images = dataset.images.drop_duplicates("group").groupby("label").head(BATCH // CLASSES)
    view = Preprocessing(size, "crop", 1.0, pixels.mean, pixels.std, pixels.interpolation)
    source = ImageSource(dataset.root, tuple(images["path"]), view, None, 0)
    labels = torch.tensor((images["label"] == "defective").to_numpy().astype("int64"))
    return torch.stack([source.load(image, 0) for image in range(len(source))]), labels


def tail_of(pictures, depthwise):
    """Return what trains, and the activations that it gets of the pictures."""
    torch.manual_seed(0)
    network = build_network(load_backbone(WHEEL_BACKBONE, "wheel"), CLASSES, Head(dropout=0.0))
    prepare_to_train(network, Phase(**PHASE, depthwise=depthwise))
    pairs = absorb_norms(network, pictures.shape[-1])
    network.eval()
    with torch.no_grad():
        kept = network.prefix(network.boundary())(pictures)
    return without_norms(network.tail(network.boundary()), pairs), kept


def by_pytorch(tail):
    """Return a copy whose resting kernels have PyTorch's own gradients."""
    plain = copy.deepcopy(tail)
    for module in list(plain.modules()):
        for name, part in module.named_children():
            if isinstance(part, DepthwiseAtRest):
                setattr(module, name, part.convolution)
    return plain


def step_of(tail, kept, labels, precision):
    """Return a step, which returns the gradients of all that trains wherever kernels rest, in one row."""
    tail, compute = copy.deepcopy(tail), Compute("cpu", precision, "channels_last")
    compute.move_module(tail)
    inputs = compute.move(kept)
    trained = [parameter for parameter in tail.parameters() if parameter.requires_grad]

    def step():
        with compute.autocast():
            logits = tail(inputs)
        gradients = torch.autograd.grad(F.cross_entropy(logits.float(), labels), trained)
        return torch.cat([gradient.flatten() for gradient in gradients])

    return step


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--size", type=int, default=224)
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--threads", type=int, default=2)
    asked = arguments.parse_args()
    torch.set_num_threads(asked.threads)
    pictures, labels = cells(asked.size)
    resting, kept = tail_of(pictures, "frozen")
    tails = {"PyTorch": by_pytorch(resting), "fitwell": resting, "kernels train": tail_of(pictures, "trained")[0]}
    precisions = ("float32", "bfloat16")
    steps = {
        f"{who}, {precision}": step_of(tail, kept, labels, precision)
        for who, tail in tails.items()
        for precision in precisions
    }
    exact = steps["PyTorch, float32"]()
    agreement = {
        name: round(float(F.cosine_similarity(step().double(), exact.double(), dim=0)), 6)
        for name, step in steps.items()
        if "train" not in name
    }
    seconds = alternate(steps, asked.rounds)
    fastest = {
        who: min((f"{who}, {each}" for each in precisions), key=lambda name: min(seconds[name])) for who in tails
    }
    write_result(
        "frozen_kernels",
        {
            "size": asked.size,
            "threads": asked.threads,
            "batch": BATCH,
            "images_per_second": {
                name: mean_interval([BATCH / each for each in spent]) for name, spent in seconds.items()
            },
            "cosine_of_gradients": agreement,
            "times_faster_than_pytorch": {
                each: paired_ratio(seconds[f"PyTorch, {each}"], seconds[f"fitwell, {each}"]) for each in precisions
            },
            "fastest": fastest,
            "fastest_times_faster": {
                who: paired_ratio(seconds[fastest[who]], seconds[fastest["fitwell"]])
                for who in ("PyTorch", "kernels train")
            },
        },
    )


if __name__ == "__main__":
    main()
