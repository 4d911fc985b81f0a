"""Real images that a wheel carries: solar cells seen by electroluminescence.

The pictures stay where pip put them; their licence (CC BY-NC-SA 4.0) does not let us ship them.

Source: Buerhop-Lutz et al. 2018, "A Benchmark for Visual Identification of Defective Solar Cells in
Electroluminescence Imagery", https://github.com/zae-bayern/elpv-dataset
"""

from __future__ import annotations

from importlib import metadata, util
from pathlib import Path

from fitwell.data.index import Dataset
from fitwell.errors import UsageError

CELLS_PER_MODULE = 60  # usual for mono and poly; the published set has 18 mono and 26 poly modules
DEFECT_THRESHOLD = 0.5  # defect probability above which a cell counts as defective


def elpv_dataset() -> Dataset:
    """Return 2,624 solar cells: functional or defective, grouped by module, with the slice cell (mono or poly).

    Raises:
        UsageError: when the extra `demo` is not installed.
    """
    folder = find_package_folder("elpv_dataset") / "data"
    return read_elpv(folder, source=f"elpv-dataset {metadata.version('elpv-dataset')}")


def find_package_folder(package: str) -> Path:
    """Return where a package of the extra `demo` lies, without running its code.

    Raises:
        UsageError: when it is not installed.
    """
    spec = util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            found=f"the package {package} is not installed.",
            expected="the images of the demo, which the extra `demo` brings.",
            fix="pip install 'fitwell[demo]'",
        )
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def read_elpv(folder: Path, source: str) -> Dataset:
    """Return the cells listed in `folder`/labels.csv: path, defect probability and cell type in each line.

    The list does not name the module of a cell, but it keeps modules together: each run of one cell type is cut
    into round(n / 60) equal blocks, which gives the published numbers of modules.
    """
    import pandas as pd

    lines = [line.split() for line in (folder / "labels.csv").read_text(encoding="utf-8").splitlines() if line.strip()]
    cells = pd.DataFrame(lines, columns=["path", "probability", "cell"], dtype=str)
    run = (cells["cell"] != cells["cell"].shift()).cumsum()
    groups: list[str] = []
    first_module = 0
    for size in cells.groupby(run).size():
        num_modules = max(1, round(size / CELLS_PER_MODULE))
        groups += [f"module{first_module + cell * num_modules // size:02d}" for cell in range(size)]
        first_module += num_modules
    is_defective = cells["probability"].astype(float) > DEFECT_THRESHOLD
    images = pd.DataFrame(
        {
            "path": cells["path"],
            "label": is_defective.map({True: "defective", False: "functional"}),
            "group": groups,
            "cell": cells["cell"],
        }
    )
    return Dataset(root=folder, images=images, classes=("defective", "functional"), source=source)
