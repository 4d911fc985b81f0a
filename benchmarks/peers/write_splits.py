"""Write the split of a data set as fitwell draws it, for peers that must train and judge on the same images.

    python benchmarks/peers/write_splits.py OUT SEED... -- NAME=TABLE_OR_FOLDER... [elpv]

OUT/NAME-SEED.csv has the columns path, label and split, with absolute paths. Transparent pictures are copied as fitwell
sees them, on white: a peer that drops the transparency would be judged on black logos on black.
"""

import sys
from pathlib import Path

from PIL import Image

from fitwell import classifier
from fitwell.data.decode import decode_image
from fitwell.data.demo import elpv_dataset


def opaque(path: Path, copies: Path) -> str:
    """Return where the picture lies without transparency."""
    with Image.open(path) as image:
        if not image.has_transparency_data:
            return str(path.resolve())
    copy = copies / f"{path.parent.name}-{path.stem}.png"
    if not copy.exists():
        copies.mkdir(parents=True, exist_ok=True)
        decode_image(path).save(copy)
    return str(copy.resolve())


def main() -> None:
    separator = sys.argv.index("--")
    out, seeds, sets = Path(sys.argv[1]), map(int, sys.argv[2:separator]), sys.argv[separator + 1 :]
    out.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for item in sets:
            name, _, source = item.partition("=")
            dataset = classifier.read_dataset(Path(source)) if source else elpv_dataset()
            images = classifier.prepare(dataset, classifier.read_settings("auto", {"seed": seed}), "warn").images
            paths = [opaque(dataset.root / path, out / "images" / name) for path in images["path"]]
            if len(set(paths)) < len(paths):
                raise SystemExit(f"{name}: two pictures have the same folder and name.")
            table = images[["label", "split"]].assign(path=paths)
            table.to_csv(out / f"{name}-{seed}.csv", index=False)
            print(out / f"{name}-{seed}.csv", images["split"].value_counts().to_dict(), flush=True)


if __name__ == "__main__":
    main()
