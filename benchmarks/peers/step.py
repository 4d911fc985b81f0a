"""Microseconds per training step of a toy network: plain PyTorch, Accelerate or Lightning, by the textbook.

    python benchmarks/peers/step.py {plain,plain_fused,same_work,accelerate,lightning} [SECONDS]

A network of 16-32-4, batches of 4 from a DataLoader, AdamW. Prints one number: that of all steps after the first epoch.
"""

import sys
import time
import warnings

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

NUM_ROWS, BATCH, EPOCHS = 4096, 4, 4  # the first epoch is not counted


def toy_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))


def toy_loader():
    torch.manual_seed(0)
    rows = TensorDataset(torch.randn(NUM_ROWS, 16), torch.randint(0, 4, (NUM_ROWS,)))
    return DataLoader(rows, batch_size=BATCH, shuffle=True)


def plain(tick, *, fused=None):
    network = toy_network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=fused)
    for _ in range(EPOCHS):
        for inputs, labels in toy_loader():
            optimizer.zero_grad()
            loss = F.cross_entropy(network(inputs), labels)
            loss.backward()
            optimizer.step()
        tick()


def plain_fused(tick):
    """As plain, with the kernel that fitwell's AdamW calls."""
    plain(tick, fused=True)


def same_work(tick):
    """As plain, with what fitwell's loop does besides: no decay of biases, weights, clipping, counts."""
    network = toy_network()
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    weights = torch.ones(BATCH)
    for _ in range(EPOCHS):
        loss_sum, num_correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for inputs, labels in toy_loader():
            optimizer.zero_grad()
            logits = network(inputs)
            loss = (F.cross_entropy(logits, labels, reduction="none") * weights).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            loss_sum += loss.detach() * BATCH
            num_correct += (logits.argmax(dim=1) == labels).sum()
        tick()


def accelerate(tick):
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    network = toy_network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    network, optimizer, loader = accelerator.prepare(network, optimizer, toy_loader())
    for _ in range(EPOCHS):
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(network(inputs), labels)
            accelerator.backward(loss)
            optimizer.step()
        tick()


def lightning(tick):
    import lightning

    class Toy(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = toy_network()

        def training_step(self, batch, _):
            inputs, labels = batch
            return F.cross_entropy(self.network(inputs), labels)

        def on_train_epoch_end(self):
            tick()

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    off = ("enable_checkpointing", "enable_progress_bar", "enable_model_summary", "logger")
    trainer = lightning.Trainer(max_epochs=EPOCHS, accelerator="cpu", **dict.fromkeys(off, False))
    trainer.fit(Toy(), toy_loader())


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    ticks = []
    ways = (plain, plain_fused, same_work, accelerate, lightning)
    {way.__name__: way for way in ways}[sys.argv[1]](lambda: ticks.append(time.perf_counter()))
    num_steps = (EPOCHS - 1) * (NUM_ROWS // BATCH)
    print(round(1e6 * (ticks[-1] - ticks[0]) / num_steps, 2))


if __name__ == "__main__":
    main()
