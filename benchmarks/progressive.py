"""Pictures that grow from phase to phase against the same epochs on pictures of the full size, paired over folds.

Every block trains, so nothing is kept and each epoch pays for its pixels. Both begin with the same searched head and
are judged at 224 pixels; the seconds are those of the whole command, with an empty cache.

    python benchmarks/progressive.py LABELS.csv [--fit pad] [--folds 5] [--last 3]
"""

import argparse
import tempfile
from pathlib import Path

from default_recipe import scores, train_fold
from result import mean_interval, paired_ratio, progress, write_result

SIZES = {"full": (None, None, None), "growing": (128, 160, None)}
HEAD = "{name: head, train: head, epochs: 20, learning_rate: search}"
ALL = "train: all, epochs: 2, learning_rate: 3e-4, head_learning_rate: 3e-3, batch_norm: fixed, depthwise: frozen"
SCHEDULES = ("warmup_epochs: 0.5, schedule: constant, head: fresh", "schedule: constant", "schedule: cosine")


def recipe(sizes):
    """Return the text of a recipe whose three stretches of fine-tuning have pictures of `sizes` pixels."""
    stretches = [
        f"{{name: stretch-{number}, {ALL}, {schedule}, image_size: {size or 'null'}}}"
        for number, (size, schedule) in enumerate(zip(sizes, SCHEDULES, strict=True), start=1)
    ]
    return "phases:\n" + "".join(f"  - {phase}\n" for phase in (HEAD, *stretches))


def measure(table, flags, sizes):
    """Return the scores on test and the seconds of the command."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "recipe.yaml"
        asked.write_text(recipe(sizes), encoding="utf-8")
        _, predictions, seconds = train_fold(table, [*flags, "--recipe", str(asked)], Path(folder))
    classes = sorted(set(predictions["label"]))
    probs = predictions[[f"p_{label}" for label in classes]].to_numpy()
    return {"seconds": round(seconds, 1), **scores(probs, predictions["label"].to_numpy(), classes)}


def write(name, rows):
    values = {way: {key: [row[way][key] for row in rows] for key in rows[0][way]} for way in SIZES}
    metrics = [key for key in rows[0]["full"] if key != "seconds"]
    result = {
        "sizes": {way: [size or 224 for size in sizes] for way, sizes in SIZES.items()},
        **{way: {key: mean_interval(numbers) for key, numbers in values[way].items()} for way in SIZES},
        "growing_minus_full": {
            key: mean_interval([row["growing"][key] - row["full"][key] for row in rows]) for key in metrics
        },
        "full_over_growing_seconds": paired_ratio(values["full"]["seconds"], values["growing"]["seconds"]),
        "folds": rows,
    }
    write_result(name, result)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--fit", default="crop")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--last", type=int, default=3)
    asked = parser.parse_args()
    rows = []
    for fold in range(1, asked.last + 1):
        flags = ["--images.fit", asked.fit, "--split.folds", str(asked.folds), "--split.fold", str(fold)]
        flags += ["--on-data-error", "warn"]
        rows.append({"fold": fold, **{way: measure(asked.data, flags, sizes) for way, sizes in SIZES.items()}})
        progress(str(rows[-1]))
        write(f"progressive_{asked.data.parent.name}", rows)


if __name__ == "__main__":
    main()
