import logging
import os
import time
from pathlib import Path

import psutil
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fitwell.files import read_json_lines
from fitwell.run_folder import create_run_folder
from fitwell.training import machine
from fitwell.training.machine import find_dangers, look, watching_machine
from fitwell.training.observer import EpochDone, StepDone

CPU = "cpu"
CALM = {"processor_percent": 50.0, "process_memory_bytes": 1e9, "free_memory_bytes": 1e10}


@pytest.fixture
def run(tmp_path):
    folder = create_run_folder(tmp_path, "watched")
    folder.update(memory={"limit_bytes": 10_000_000_000})
    return folder


def a_step(step):
    return StepDone("head", 1, step, torch.tensor(0.5), {"head": 0.1}, torch.tensor(1.0))


def test_a_look_tells_what_the_system_tells():
    figures = look(psutil.Process(), CPU)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    assert figures["process_memory_bytes"] == pytest.approx(pages * os.sysconf("SC_PAGE_SIZE"), rel=0.05)
    assert 0 < figures["free_memory_bytes"] <= psutil.virtual_memory().total
    assert 0 <= figures["processor_percent"] <= 100


def test_memory_of_workers_counts():
    import multiprocessing

    def hold(ready):
        held = b"x" * 300_000_000
        ready.set()
        time.sleep(60)
        return held

    context = multiprocessing.get_context("fork")
    ready = context.Event()
    worker = context.Process(target=hold, args=(ready,), daemon=True)
    alone = look(psutil.Process(), CPU)["process_memory_bytes"]
    worker.start()
    try:
        assert ready.wait(30)
        assert look(psutil.Process(), CPU)["process_memory_bytes"] > alone + 250_000_000
    finally:
        worker.kill()


def test_looks_are_written_with_the_step_that_was_the_last(run):
    with watching_machine(run, CPU, seconds=0.05) as watch:
        watch(a_step(7))
        while sum(record["step"] == 7 for record in read_json_lines(run.machine)) < 2:
            time.sleep(0.01)
        watch(EpochDone({"step": 9, "images_per_second": 120.0, "seconds": {"train": 2.0, "val": 1.0}}))
    looks = list(read_json_lines(run.machine))
    assert looks[-1]["step"] == 9
    assert all(record["process_memory_bytes"] > 0 for record in looks)
    board = EventAccumulator(str(run.tensorboard("_machine")))
    board.Reload()
    assert board.Scalars("images_per_second")[0].value == 120
    assert [(event.step, event.value) for event in board.Scalars("seconds_of_epoch")] == [(9, 3.0)]
    assert len(board.Scalars("process_memory_bytes")) == len(looks)


def test_the_thread_ends_with_the_run(run):
    with watching_machine(run, CPU, seconds=0.01):
        pass
    count = len(list(read_json_lines(run.machine)))
    time.sleep(0.1)
    assert len(list(read_json_lines(run.machine))) == count == 1


@pytest.mark.parametrize(
    ("figures", "kind", "words"),
    [
        ({"process_memory_bytes": 9.1e9}, "memory", "holds 9.1 of at most 10.0 GB; lower execution.batch_size"),
        ({"processor_celsius": 91.0}, "processor_heat", "the processor has 91 °C"),
        ({"gpu_celsius": 86.0}, "gpu_heat", "the gpu has 86 °C"),
        ({"gpu_memory_bytes": 7.9e10, "gpu_memory_limit_bytes": 8e10}, "gpu_memory", "79.0 of 80.0 GB"),
    ],
)
def test_what_comes_near_its_limit_is_a_danger(figures, kind, words):
    dangers = find_dangers(CALM | figures, 10_000_000_000)
    assert list(dangers) == [kind]
    assert words in dangers[kind]


def test_a_calm_machine_is_no_danger():
    heat = {"processor_celsius": 60.0, "gpu_celsius": 80.0, "gpu_memory_bytes": 7e10, "gpu_memory_limit_bytes": 8e10}
    assert find_dangers(CALM | heat, 10_000_000_000) == {}


def test_a_danger_is_told_once(run, monkeypatch, caplog):
    monkeypatch.setattr(machine, "look", lambda process, device: CALM | {"process_memory_bytes": 9.5e9})
    with caplog.at_level(logging.WARNING), watching_machine(run, CPU, seconds=0.01):
        while len(list(read_json_lines(run.machine))) < 3:
            time.sleep(0.01)
    assert [record.getMessage() for record in caplog.records] == [
        "the run holds 9.5 of at most 10.0 GB; lower execution.batch_size or execution.workers."
    ]


def test_a_gpu_is_watched_when_it_trains(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (20, 100))
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: 97)
    monkeypatch.setattr(torch.cuda, "temperature", lambda device: 70)
    figures = look(psutil.Process(), "cuda:0")
    shown = {name: value for name, value in figures.items() if name.startswith("gpu")}
    assert shown == {"gpu_percent": 97, "gpu_memory_bytes": 80, "gpu_memory_limit_bytes": 100, "gpu_celsius": 70}


def test_a_machine_that_cannot_be_watched_is_told_once_and_the_run_goes_on(run, monkeypatch, caplog):
    def fail(process, device):
        raise RuntimeError("no driver")

    monkeypatch.setattr(machine, "look", fail)
    with caplog.at_level(logging.WARNING), watching_machine(run, CPU, seconds=0.01) as watch:
        watch(a_step(3))
        time.sleep(0.1)
    assert [record.getMessage() for record in caplog.records] == [
        "the machine cannot be watched: RuntimeError('no driver')"
    ]
    assert list(read_json_lines(run.machine)) == []
