"""B7: what a shortlist of backbones costs and loses, against probing all backbones on all train and val images.

Both sides have the same probe on the same split. Cost is processor time, features included, each side with a store of
its own that is empty at first. Regret is the val metric of the best probe on all images less that of the winner's
probe on all images. Backbones whose weights are not at hand are left out, so install the extra `backbones`.

    python benchmarks/backbone_shortlist.py elpv LOGOS/labels.csv EMOJI/labels.csv [--images 1500] [--seeds 1]
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from result import mean_interval, paired_ratio, progress, write_result

from fitwell import classifier
from fitwell.data.demo import elpv_dataset
from fitwell.model.weights import weights_at_hand
from fitwell.recipe.resolve import WHEELS
from fitwell.store import Store
from fitwell.training.backbone_probe import BackboneProbe, ask
from fitwell.training.halving import halve


def read_part(data, num_images, seed):
    """Return the data set with about `num_images` images: whole groups where there are any."""
    dataset = elpv_dataset() if data == "elpv" else classifier.read_dataset(Path(data))
    images = dataset.images
    units = images["group"] if "group" in images else images["path"]
    drawn = np.random.default_rng(seed).permutation(units.unique())
    share = min(1.0, num_images / len(images))
    return replace(dataset, images=images[units.isin(drawn[: round(share * len(drawn))])].reset_index(drop=True))


def probes(question, store):
    return [BackboneProbe(name, weights_at_hand(name), question, store) for name in WHEELS if weights_at_hand(name)]


def timed(question, work):
    """Return the result and the processor seconds of `work` with an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        return work(probes(question, Store(Path(folder), 10**10))), time.process_time() - started


def compare(data, num_images, seed):
    asked = classifier.read_settings("auto", {"seed": seed, "execution.workers": 0})
    prepared = classifier.prepare(read_part(data, num_images, seed), asked, "warn")
    question = ask(prepared, asked)
    most = len(question.train.labels)
    standings, halving_seconds = timed(
        question, lambda candidates: halve(candidates, question.rungs(), lambda name, judged: None)
    )
    judged, all_seconds = timed(question, lambda candidates: {each.name: each.judge(most) for each in candidates})
    best, winner = max(judged, key=lambda name: judged[name].value), standings[0].name
    return {
        "data": data,
        "seed": seed,
        "num_train_val": [most, len(question.val.labels)],
        "metric": question.metric,
        "halving_seconds": round(halving_seconds, 1),
        "all_seconds": round(all_seconds, 1),
        "val_on_all": {name: round(each.value, 4) for name, each in judged.items()},
        "winner": winner,
        "regret": round(judged[best].value - judged[winner].value, 4),
        "surely_worse": judged[best].lead(judged[winner]).is_sure(),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="+")
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    rows = []
    for data in asked.data:
        for seed in range(1, asked.seeds + 1):
            rows.append(compare(data, asked.images, seed))
            progress(str(rows[-1]))
    write_result(
        "backbone_shortlist",
        {
            "images": asked.images,
            "threads": asked.threads,
            "cost_ratio": paired_ratio([row["all_seconds"] for row in rows], [row["halving_seconds"] for row in rows]),
            "regret": mean_interval([row["regret"] for row in rows]),
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
