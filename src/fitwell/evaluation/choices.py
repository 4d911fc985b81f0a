"""What val chooses for whoever uses the classifier: a temperature and, of two classes, a threshold.

Both are kept in run.json with the images they rest on, and judged on every split. Neither changes the
probabilities that are written or the metrics made of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitwell.errors import DataError
from fitwell.evaluation.calibration import fit_temperature, judge_calibration
from fitwell.evaluation.intervals import Units
from fitwell.evaluation.metrics import Labels, softmax
from fitwell.evaluation.operating_point import choose_threshold, judge_threshold
from fitwell.recipe.judge import parse_rule
from fitwell.recipe.read import recipe_of
from fitwell.run_folder import RunFolder

Logits = NDArray[np.floating[Any]]


def choose_on_val(run: RunFolder, logits: Logits, names: Iterable[str], classes: tuple[str, ...]) -> None:
    """Fit the temperature and choose the threshold on the val images of `run`; write both to run.json.

    Args:
        logits: (N, C). names: the class of each image, N of `classes`.
    """
    code = {name: index for index, name in enumerate(classes)}
    labels = np.array([code[name] for name in names], dtype=np.int64)
    rule = recipe_of(run).judge.operating_point
    point = _choose_point(logits, labels, classes, rule) if len(classes) == 2 else None
    run.update(temperature=_fit(logits, labels), operating_point=point)


def judge_choices(run: RunFolder, logits: Logits, labels: Labels, units: Units) -> dict[str, Any]:
    """Return what the choices of val come to on the images of `logits` (N, C), as plain data.

    Returns:
        calibration: of the plain probabilities, of the tempered ones (None without a temperature), and the
            temperature as run.json has it (None before val was judged).
        operating_point: as run.json has it, and `here` what it comes to, see `judge_threshold`; None before val was
            judged and for more than two classes.
    """
    record = run.read() if run.run_json.exists() else {}
    temperature, point = record.get("temperature"), record.get("operating_point")
    value = temperature and temperature["value"]
    calibration = {
        "temperature": temperature,
        "plain": judge_calibration(logits, labels),
        "tempered": judge_calibration(logits, labels, value) if value else None,
    }
    if point and point["threshold"] is not None:
        scores = softmax(logits)[:, 1]
        point = {**point, "here": judge_threshold(scores, labels == 1, point["threshold"], units)}
    return {"calibration": calibration, "operating_point": point}


def _fit(logits: Logits, labels: Labels) -> dict[str, Any]:
    record = {"fitted_on": "val", "num_images": len(labels)}
    try:
        return {"value": fit_temperature(logits, labels), **record}
    except DataError as error:
        return {"value": None, "reason": f"{error.found} Expected: {error.expected}", **record}


def _choose_point(logits: Logits, labels: Labels, classes: tuple[str, ...], rule: str) -> dict[str, Any]:
    choice = choose_threshold(softmax(logits)[:, 1], labels == 1, parse_rule(rule))
    return {
        "rule": rule,
        "positive": classes[1],
        "threshold": choice.threshold,
        "reason": choice.reason,
        "chosen_on": "val",
        "num_images": len(labels),
    }
