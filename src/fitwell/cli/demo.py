"""`fitwell demo`: the main job on real images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fitwell.cli.train import Settings, finish, parse_settings


def demo(
    *settings: Settings,
    recipe: str = "auto",
    seed: int = 0,
    runs_dir: Path = Path("runs"),
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Train on 2,624 real solar cells: functional against defective, grouped by module.

    The images come with the package elpv-dataset (Buerhop-Lutz et al. 2018; Deitsch et al. 2019, 2021; licence
    CC BY-NC-SA 4.0), which the extra `demo` installs.

    Args:
        recipe: name of a built-in recipe, or path of a YAML file.
        seed: decides the split, the new weights and every random choice.
        runs_dir: where runs are kept.
        json: print the result as JSON.
    """
    from fitwell import classifier
    from fitwell.data.demo import elpv_dataset

    overrides = parse_settings(settings, known=("--recipe", "--seed", "--runs-dir", "--json"))
    chosen = classifier.read_settings(recipe, {**overrides, "seed": seed})
    prepared = classifier.prepare(elpv_dataset(), chosen)
    run = classifier.start(prepared, runs_dir, f"demo-seed{seed}")
    print(f"run: {run.path}", file=sys.stderr)
    finish(run, json=json)
