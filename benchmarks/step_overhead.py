"""B8: what a training step costs besides the arithmetic; fitwell's loop against PyTorch, Accelerate and Lightning.

The same toy network, batches of 4 and AdamW everywhere. fitwell's loop does more in its step: it clips gradients, sets
the rate, seeds dropout, counts loss and accuracy. It gathers its batches from a tensor, as from cached activations; the
peers use a DataLoader, as textbooks do; "same_work" is plain PyTorch that clips, weighs and counts as well. Every run
is a process of its own, in turn; its first epoch is not counted.

    python benchmarks/step_overhead.py [--rounds 8] [--peers-python PYTHON with accelerate and lightning]
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from result import mean_interval, paired_ratio, progress, write_result

STEP = Path(__file__).parent / "peers" / "step.py"


def ours() -> float:
    """Runs in a process of its own; return microseconds per step."""
    sys.path.insert(0, str(STEP.parent))
    import torch
    from step import BATCH, EPOCHS, NUM_ROWS, toy_network

    from fitwell.data.loader import epoch_batches
    from fitwell.model.compute import Compute
    from fitwell.model.network import Block, Network
    from fitwell.recipe.phase import Phase
    from fitwell.recipe.schema import Recipe
    from fitwell.training.loop import PhaseWork, Progress, train_phase
    from fitwell.training.optimizer import build_optimizer
    from fitwell.training.phase_data import PhaseData

    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows, labels = torch.randn(NUM_ROWS, 16), torch.randint(0, 4, (NUM_ROWS,))
    hidden, activation, head = toy_network()
    network = Network([Block("hidden", hidden, 0), Block("activation", activation, 0)], head)
    ticks = []

    def train_batches(epoch, skip):
        ticks.append(time.perf_counter())
        for indices in epoch_batches(NUM_ROWS, BATCH, seed=0, epoch=epoch)[skip:]:
            yield rows[torch.from_numpy(indices)], indices

    def val_batches():
        yield rows[:BATCH], torch.arange(BATCH).numpy()

    phase = Phase(name="toy", train="all", epochs=EPOCHS + 1, learning_rate=1e-3, schedule="constant")
    recipe = Recipe.model_validate({"select": {"metric": "accuracy"}, "loss": {"label_smoothing": 0.0}})
    work = PhaseWork(
        phase=phase,
        recipe=recipe,
        network=network,
        data=PhaseData(network, train_batches, val_batches),
        compute=Compute("cpu"),
        classes=("a", "b", "c", "d"),
        labels=labels,
        weights=torch.ones(NUM_ROWS),
        val_labels=labels[:BATCH].numpy(),
        steps_per_epoch=NUM_ROWS // BATCH,
        first_epoch=0,
        keep_best=lambda record: None,
    )
    optimizer = build_optimizer(network, recipe.optimizer)
    train_phase(work, Progress(), optimizer, observers=(), checkpoint=lambda now: None)
    return 1e6 * (ticks[-1] - ticks[1]) / ((EPOCHS - 1) * (NUM_ROWS // BATCH))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--peers-python")
    parser.add_argument("--ours", action="store_true", help="only measure fitwell, in this process")
    asked = parser.parse_args()
    if asked.ours:
        print(round(ours(), 2))
        return
    ways = {name: [sys.executable, str(STEP), name] for name in ("plain", "plain_fused", "same_work")}
    ways |= {"fitwell": [sys.executable, __file__, "--ours"]}
    if asked.peers_python:
        ways |= {name: [asked.peers_python, str(STEP), name] for name in ("accelerate", "lightning")}
    micros = {name: [] for name in ways}
    for _ in range(asked.rounds):
        for name, command in ways.items():
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
            micros[name].append(float(done.stdout.split()[-1]))
            progress(f"{name}: {micros[name][-1]} us a step")
    rows = {
        name: {
            "microseconds_per_step": mean_interval(values),
            **{f"times_{other}": paired_ratio(values, micros[other]) for other in ("plain", "same_work")},
        }
        for name, values in micros.items()
    }
    write_result("step_overhead", {"batch": 4, "floor": "at most plain + 10 %", "ways": rows})


if __name__ == "__main__":
    main()
