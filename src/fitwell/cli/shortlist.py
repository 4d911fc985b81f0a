"""`fitwell shortlist`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from fitwell.cli.output import print_json, print_warnings
from fitwell.cli.train import AS_IT_IS, Reading, Settings, parse_settings

if TYPE_CHECKING:
    from fitwell.training.halving import Judged
    from fitwell.training.shortlist import Shortlist

OPTIONS = ("--backbones", "--recipe", "--seed", "--image-root", "--group-by", "--on-data-error", "--download", "--json")
Names = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")]


def shortlist(
    data: Path,
    /,
    *settings: Settings,
    backbones: Names = (),
    recipe: str = "auto",
    seed: int | None = None,
    reading: Reading = AS_IT_IS,
    download: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Say which backbone to train, by quick probes on train and val images; start no run.

    Frozen features of growing parts of the training images, a linear model on each, and the better half goes on. The
    split is that of `fitwell train` with the same recipe and seed, and its test images are left alone.

    Args:
        data: a folder of class folders, or a CSV, TSV or Parquet table with the columns path and label.
        backbones: timm names; without them, those with published figures. What is not at hand is left out.
        recipe: name of a built-in recipe, or path of a YAML file.
        seed: decides the split.
        download: fetch weights that are not at hand.
        json: print the result as JSON.
    """
    from fitwell import classifier
    from fitwell.training.shortlist import shortlist_backbones

    overrides = parse_settings(settings, known=OPTIONS)
    if seed is not None:
        overrides["seed"] = seed
    asked = classifier.read_settings(recipe, overrides)
    dataset = classifier.read_dataset(data, reading.image_root, reading.group_by, recipe=asked)
    prepared = classifier.prepare(dataset, asked, reading.on_data_error)
    print_warnings(prepared.findings)
    found = shortlist_backbones(prepared, asked, backbones, download=download, on_judged=_tell)
    if json:
        print_json(
            {"metric": found.metric, "backbones": found.rows, "skipped": found.skipped, "recipe": found.recipe_line()}
        )
    else:
        _print(found)


def _tell(name: str, judged: Judged) -> None:
    print(f"{judged.num_train:>8,} training images  {name:<28} {judged.value:.3f}", file=sys.stderr)


def _print(found: Shortlist) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("backbone", box=None, pad_edge=False)
    for heading in ("pixels", "million parameters", "images/s here", "train", "val"):
        table.add_column(heading, justify="right")
    table.add_column(f"val {found.metric.replace('_', ' ')} (95 %)", no_wrap=True)
    table.add_column("verdict")
    for row in found.rows:
        ends = "not defined" if row["interval"] is None else "{:.3f} to {:.3f}".format(*row["interval"])
        table.add_row(
            row["backbone"],
            str(row["size"]),
            f"{row['num_parameters'] / 1e6:.1f}",
            f"{row['images_per_second']:.1f}",
            f"{row['num_train']:,}",
            f"{row['num_val']:,}",
            f"{row['val']:.3f} ({ends})",
            row["verdict"],
        )
    Console(width=max(140, Console().width)).print(table)
    for name, reason in found.skipped.items():
        print(f"not probed: {name}: {reason}")
    print(f"use: {found.recipe_line()}")
