"""Write the tables of the examples `fast` and `screening`, from the solar cells of the package elpv-dataset.

    pip install 'fitwell[demo]'
    python examples/elpv_tables.py      # into examples/images/

The pictures stay where pip put them; examples/images/elpv is a link to their folder.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from fitwell.data.demo import elpv_dataset

IMAGES = Path(__file__).parent / "images"
POSITIVE_SHARE = 0.05
SEED = 0


def fast_tables(cells: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return four questions with two answers: one model each, as a clinic has one for each disease."""
    is_mono = cells["cell"] == "mono"
    return {
        "mono": cells[is_mono],
        "poly": cells[~is_mono],
        "any": cells,
        "kind": cells.assign(label=cells["cell"]).drop(columns="cell"),
    }


def screening_table(cells: pd.DataFrame) -> pd.DataFrame:
    """Return every functional cell, and so few defective ones that they are 5 % of all."""
    positives = np.flatnonzero(cells["label"] == "defective")
    num_negatives = len(cells) - len(positives)
    num_kept = round(num_negatives * POSITIVE_SHARE / (1 - POSITIVE_SHARE))
    kept = np.random.default_rng(SEED).choice(positives, num_kept, replace=False)
    return cells.drop(index=np.setdiff1d(positives, kept)).reset_index(drop=True)


def main() -> None:
    """Write every table below examples/images/."""
    dataset = elpv_dataset()
    cells = dataset.images
    tables = {f"fast/{name}": table for name, table in fast_tables(cells).items()}
    tables["screening/cells"] = screening_table(cells)
    IMAGES.mkdir(exist_ok=True)
    link = IMAGES / "elpv"
    if not link.is_symlink():
        link.symlink_to(dataset.root, target_is_directory=True)
    for name, table in tables.items():
        path = IMAGES / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        table.to_csv(path, index=False)
        print(f"{path}: {len(table)} images, {table['label'].value_counts().to_dict()}")


if __name__ == "__main__":
    main()
