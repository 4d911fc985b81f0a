"""Seconds from the command until a model with the val score that a peer ends with lies on the disk.

`fitwell train` runs as its users run it, on the split and the pictures that the peer had, from an empty cache.

    python benchmarks/time_to_quality.py {fastai,autogluon} SPLITS PEERS [NAME ...]

SPLITS/NAME-SEED.csv are those of peers/write_splits.py, PEERS/NAME-SEED.json the peer's results on them. fastai's
(peers/fastai_fine_tune.py) are whole runs' scores; its seconds are of PEERS/NAME-time.json, one run with --share on an
otherwise quiet machine: as many times longer as that part is small. AutoGluon's (peers/autogluon_fit.py) have both.
Sets that are not named keep what an earlier call measured of them.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from result import mean_interval, progress, read, write_result

from fitwell.files import read_json_lines

METRICS = {"elpv": "auc", "logos": "macro_f1", "emoji": "macro_f1"}
PEER_NAMES = {
    "fastai": {"auc": "roc_auc_score", "macro_f1": "f1_score"},
    "autogluon": {"auc": "roc_auc", "macro_f1": "f1_macro"},
}
FLAGS = {"elpv": [], "logos": ["--images.fit", "pad"], "emoji": ["--images.fit", "pad"]}


def copied(split, folder):
    """Return the path of a table with the same split, its pictures beside it."""
    table = pd.read_csv(split)
    (folder / "images").mkdir()
    places = [f"images/{number}{Path(path).suffix}" for number, path in enumerate(table["path"])]
    for path, place in zip(table["path"], places, strict=True):
        shutil.copyfile(path, folder / place)
    table.assign(path=places).to_csv(folder / "split.csv", index=False)
    return folder / "split.csv"


def saved_scores(runs, metric, seen):
    """Return the val scores so far of models whose weights are on the disk."""
    for run in runs.glob("*"):
        if not (run / "history.jsonl").exists() or not (run / "checkpoints" / "best.safetensors").exists():
            continue
        epochs = [entry for entry in read_json_lines(run / "history.jsonl") if entry["kind"] == "epoch"]
        best = [entry["val"][metric] for entry in epochs if entry["best"]]
        written = (run / "checkpoints" / "best.safetensors").stat().st_mtime_ns
        if best and written != seen.get("written"):
            seen["written"] = written
            return best[-1]
    return None


def watch(name, split):
    """Return [seconds, val score] of every best model that the command leaves on the disk, and its seconds in all."""
    curve, seen = [], {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        table = copied(split, folder)
        command = [sys.executable, "-m", "fitwell", "train", str(table), "--runs-dir", str(folder / "runs")]
        started = time.perf_counter()
        running = subprocess.Popen(
            [*command, *FLAGS[name], "--on-data-error", "warn"],
            env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while running.poll() is None:
            time.sleep(0.2)
            score = saved_scores(folder / "runs", METRICS[name], seen)
            if score is not None:
                curve.append([round(time.perf_counter() - started, 1), round(score, 4)])
        if running.returncode:
            raise SystemExit(f"fitwell train failed on {split}.")
        return curve, round(time.perf_counter() - started, 1)


def fastai_curve(name, seed, peers):
    """Return [seconds, val score] after every epoch."""
    scores = json.loads((peers / f"{name}-{seed}.json").read_text(encoding="utf-8"))
    timed = json.loads((peers / f"{name}-time.json").read_text(encoding="utf-8"))
    if not scores["finished"] or timed["channels_last"] or timed["threads"] != 2:
        raise SystemExit(f"{name}-{seed}.json is not finished, or {name}-time.json is not fastai's default.")
    return [
        [round(clock["seconds"] / timed["share"], 1), round(row[PEER_NAMES["fastai"][METRICS[name]]], 4)]
        for clock, row in zip(timed["epochs"], scores["epochs"], strict=True)
    ]


def autogluon_curve(name, seed, peers):
    """Return [[seconds, val score]] of the model that it ends with."""
    record = json.loads((peers / f"{name}-{seed}.json").read_text(encoding="utf-8"))
    return [[record["seconds"], round(record["val"][PEER_NAMES["autogluon"][METRICS[name]]], 4)]]


def compare(peer, name, seed, splits, peers):
    """Return both curves, and when ours first had the score that the peer ended with."""
    theirs = {"fastai": fastai_curve, "autogluon": autogluon_curve}[peer](name, seed, peers)
    ours, seconds = watch(name, splits / f"{name}-{seed}.csv")
    peer_seconds, target = theirs[-1]
    reached = next((at for at, score in ours if score >= target), None)
    return {
        "seed": seed,
        "target": target,
        "reached_seconds": reached,
        "peer_seconds": peer_seconds,
        "times_sooner": reached and round(peer_seconds / reached, 1),
        "command_seconds": seconds,
        "fitwell": ours,
        peer: theirs,
    }


def main() -> None:
    peer, splits, peers, names = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:] or list(METRICS)
    result = "time_to_quality" if peer == "fastai" else f"time_to_quality_{peer}"
    kept = (read(result) or {"sets": {}})["sets"]
    sets = {name: entry for name, entry in kept.items() if name not in names}
    for name in names:
        seeds = sorted(path.stem.rpartition("-")[2] for path in splits.glob(f"{name}-*.csv"))
        rows = []
        for seed in (seed for seed in seeds if (peers / f"{name}-{seed}.json").exists()):
            rows.append(compare(peer, name, int(seed), splits, peers))
            progress(str({key: value for key, value in rows[-1].items() if key not in ("fitwell", peer)}))
            reached = [row["times_sooner"] for row in rows if row["times_sooner"]]
            sets[name] = {
                "metric": METRICS[name],
                "times_sooner": mean_interval(reached) if reached else None,
                "num_reached": len(reached),
                "runs": rows,
            }
            write_result(result, {"sets": sets})


if __name__ == "__main__":
    main()
