"""elpv by two protocols, one recipe: the paper's ten random splits, and ours with whole modules on one side.

Cells of one module lie on both sides of the paper's splits (stratified, 75/25), so its numbers are for comparison with
what is published (Deitsch et al. 2019, doi:10.1016/j.solener.2019.02.067: VGG-19 0.8842, SVM 0.8244). Ours are five
folds by module. Accuracy is plain, and weighted by how sure the paper's expert was. All trainings share one cache:
the first pays for the frozen layers, its seconds stand apart.

    python benchmarks/elpv_protocol.py [--splits 10] [--folds 5] [-- --any.setting value]

Trainings that the results hold with the same settings stand: the same command goes on after a stop. The page
benchmarks/elpv.md is written anew after each.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from result import RESULTS, mean_interval, progress, write_result
from scipy import stats
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from fitwell.data.demo import elpv_dataset

PAGE = RESULTS.parent / "elpv.md"
PUBLISHED = {"VGG-19, fine-tuned": 0.8842, "SVM on hand-made features": 0.8244}
TEST_SHARE, VAL_SHARE = 0.25, 0.1  # of all, of the rest
NUM_FOLDS = 5
PROTOCOLS = {"random": "ten random stratified 75/25 splits", "grouped": "five folds by module"}
TEST_TO_TRAIN = {"random": TEST_SHARE / (1 - TEST_SHARE), "grouped": 1 / (NUM_FOLDS - 1)}
SCORES = ("weighted_accuracy", "accuracy", "auc")
SETTINGS = {
    "model.own_statistics": "0",  # else every split would have frozen layers of its own
    "images.size": "256",
    "augment.rotate_degrees": "0",
    "augment.crop_area": "[1, 1]",
    "augment.color": "{brightness: 0, contrast: 0}",
    "augment.flip": "dihedral",
    "augment.views": "8",
    "balance.class_weights": "none",
    "loss.label_smoothing": "0",
    "optimizer.kind": "muon",
    "select.keep": "last",
    "predict.average_over": "dihedral",
    "phases.fine-tune.epochs": "8",
    "phases.fine-tune.learning_rate": "2e-3",
    "phases.fine-tune.head_learning_rate": "2e-3",
}


def cells():
    """Return the folder, and path, label, module and weight of every cell: how sure the paper's expert was.

    The expert's probability of a defect is 0, 1/3, 2/3 or 1; the paper weighs a cell by it, and a sound one by 1.
    """
    dataset = elpv_dataset()
    lines = (dataset.root / "labels.csv").read_text(encoding="utf-8").split("\n")
    probabilities = {line.split()[0]: float(line.split()[1]) for line in lines if line.strip()}
    probability = dataset.images["path"].map(probabilities)
    weight = np.where(probability == 0, 1.0, probability)
    return dataset.root, dataset.images[["path", "label", "group"]].assign(weight=weight)


def divide_at_random(table, seed):
    """Return the table, without modules, with its column split."""
    rest, test = train_test_split(table.index, test_size=TEST_SHARE, random_state=seed, stratify=table["label"])
    _, val = train_test_split(rest, test_size=VAL_SHARE, random_state=seed, stratify=table.loc[rest, "label"])
    return with_split(table.drop(columns="group"), val, test)


def divide_by_module(table, fold):
    """Return the table with its column split: of `NUM_FOLDS` folds number `fold` is test, and whole modules are val."""
    rest, test = list(StratifiedGroupKFold(NUM_FOLDS).split(table, table["label"], table["group"]))[fold]
    left = table.iloc[rest]
    folds = StratifiedGroupKFold(round(1 / VAL_SHARE)).split(left, left["label"], left["group"])
    return with_split(table, left.index[next(folds)[1]], table.index[test])


def with_split(table, val, test):
    split = pd.Series("train", index=table.index)
    split[val], split[test] = "val", "test"
    return table.assign(split=split)


def train_and_judge(folder, root, table, settings):
    """Return test scores and the seconds of the command.

    Args:
        root: that the table's paths begin at.
    """
    table.to_csv(folder / "split.csv", index=False)
    flags = [part for key, value in settings.items() for part in (f"--{key}", value)]
    runs = folder / "runs"
    command = [sys.executable, "-m", "fitwell", "train", str(folder / "split.csv"), "--image-root", str(root)]
    started = time.perf_counter()
    subprocess.run(
        [*command, "--runs-dir", str(runs), *flags, "--on-data-error", "warn"],
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - started
    predictions = pd.read_parquet(max(runs.iterdir()) / "evaluation" / "test" / "predictions.parquet")
    is_defective = predictions["label"] == "defective"
    right = (predictions["p_defective"] > 0.5) == is_defective
    weights = predictions["path"].map(table.set_index("path")["weight"])
    return {
        "weighted_accuracy": float(np.average(right, weights=weights)),
        "accuracy": float(right.mean()),
        "auc": float(roc_auc_score(is_defective, predictions["p_defective"])),
        "num_test": len(predictions),
        "seconds": round(seconds, 1),
    }


def kept_rows(protocol, settings):
    """Return the trainings that an earlier call finished."""
    path = RESULTS / f"elpv_{protocol}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return kept["rows"] if kept.get("settings") == settings else []


def corrected_interval(values, test_to_train):
    """Return mean, standard deviation and the 95 % interval of the mean of scores in [0, 1] of overlapping trainings.

    Source: Nadeau & Bengio 2003, doi:10.1023/A:1024068626366: the variance counts 1 / k + n_test / n_train times.
    """
    k, sd = len(values), float(np.std(values, ddof=1))
    half = float(stats.t.ppf(0.975, k - 1)) * sd * np.sqrt(1 / k + test_to_train)
    mean = float(np.mean(values))
    interval = [max(0.0, mean - half), min(1.0, mean + half)]
    return {"mean": mean, "sd": sd, "interval": interval, "half": half, "n": k, "values": values}


def summarise(protocol, rows):
    """Return each score over `rows`, and the seconds apart from the training that pays for the frozen layers."""
    scores = {}
    for score in SCORES:
        values = [row[score] for row in rows]
        scores[score] = corrected_interval(values, TEST_TO_TRAIN[protocol]) if len(rows) > 1 else mean_interval(values)
    seconds = {
        who: mean_interval(spent)
        for who, paying in (("first", True), ("others", False))
        if (spent := [row["seconds"] for row in rows if row["pays"] == paying])
    }
    return {**scores, "seconds": seconds}


def write_page():
    """Write benchmarks/elpv.md from the results that are there."""
    found = {name: RESULTS / f"elpv_{name}.json" for name in PROTOCOLS}
    results = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in found.items() if path.exists()}
    rows = [f"| {who}, published | {score:.4f} | | | | |" for who, score in PUBLISHED.items()]
    for name, result in results.items():
        cells = [cell(result[score]) for score in SCORES]
        seconds = ", ".join(
            f"{spent['mean']:.0f}{' with the frozen layers' * (who == 'first')}"
            for who, spent in result["seconds"].items()
        )
        where = f"{result['machine']['processor']}, {result['date']}"
        title = f"fitwell, {PROTOCOLS[name]} (n = {len(result['rows'])})"
        rows.append(f"| {title} | {' | '.join(cells)} | {seconds} | {where} |")
    settings = next(iter(results.values()))["settings"]
    flags = "\n".join(f"    --{key} '{value}'" for key, value in settings.items())
    PAGE.write_text(
        f"""# elpv by two protocols

Written by `python benchmarks/elpv_protocol.py`. 2,624 solar cells, sound or defective; weighted accuracy counts a cell
by how sure the expert was. 2 virtual cores of shared hosts. Beside each mean its 95 % interval, corrected for trainings
that share images (Nadeau & Bengio 2003), and the standard deviation.

| | weighted accuracy | accuracy | AUC | seconds a training | machine |
|---|---|---|---|---|---|
{chr(10).join(rows)}

{gap_sentence(results)}
The paper's split is not published; its weighted accuracy is our reading of its figures. Random splits put cells of one
module, neighbours in one photograph, on both sides: their number says how well cells of *known* modules are judged.
Folds by module say what to expect of a new one.

The recipe is `auto` with

{flags}
""",
        encoding="utf-8",
    )


def cell(score):
    if score["interval"] is None:
        return f"{score['mean']:.4f}"
    low, high = score["interval"]
    return f"{score['mean']:.4f} ({low:.4f} to {high:.4f}; SD {score['sd']:.4f})"


def gap_sentence(results):
    """Return how much random splits flatter: the difference of the means, its interval by Welch's formula."""
    both = [results[name]["weighted_accuracy"] for name in PROTOCOLS if name in results]
    if len(both) < 2 or any(score["interval"] is None for score in both):
        return ""
    gap = both[0]["mean"] - both[1]["mean"]
    errors = [score["half"] / float(stats.t.ppf(0.975, score["n"] - 1)) for score in both]
    spread = sum(error**2 for error in errors)
    freedom = spread**2 / sum(error**4 / (score["n"] - 1) for error, score in zip(errors, both, strict=True))
    half = float(stats.t.ppf(0.975, freedom)) * np.sqrt(spread)
    return (
        f"**The gap in weighted accuracy: random splits read {gap:+.4f} ({gap - half:+.4f} to {gap + half:+.4f}) "
        "against folds by module.**\n"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--splits", type=int, default=10)
    arguments.add_argument("--folds", type=int, default=NUM_FOLDS)
    asked, own = arguments.parse_known_args()
    own = own[own[:1] == ["--"] :]
    settings = SETTINGS | dict(zip((key.removeprefix("--") for key in own[::2]), own[1::2], strict=True))
    root, table = cells()
    plan = (("random", asked.splits, divide_at_random), ("grouped", asked.folds, divide_by_module))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for protocol, count, divide in plan:
            rows = kept_rows(protocol, settings)
            for number in range(len(rows), count):
                pays = not (folder / "cache").exists()  # for the frozen layers
                row = train_and_judge(folder, root, divide(table, number), settings)
                rows.append({"number": number, "pays": pays, **row})
                progress(f"{protocol} {rows[-1]}")
                write_result(f"elpv_{protocol}", {"settings": settings, **summarise(protocol, rows), "rows": rows})
                write_page()


if __name__ == "__main__":
    main()
