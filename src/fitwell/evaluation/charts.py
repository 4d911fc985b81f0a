"""Pictures of a run as SVG text: learning curves and rates, confusion matrix, ROC, confidence, risk against coverage.

The same numbers give the same bytes. Colours are Okabe and Ito's, told apart by colour-blind readers and, with
their different dashes, in grey print. Names come from folders of strangers: they are drawn as they are, never
read as mathematics, and matplotlib escapes them.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"  # Okabe & Ito 2008
INK, FAINT, PAPER = "#1f2328", "#8a929b", "#fffffe"  # in a page, INK and PAPER become the page's own
LONGEST_NAME = 22  # characters of a class name on an axis
MOST_CELLS_WITH_NUMBERS = 16  # classes
MOST_NAMED_CLASSES = 60

STYLE: Any = {  # keys of rcParams, which mypy would want spelled as literals
    "svg.fonttype": "none",
    "svg.hashsalt": "fitwell",
    "text.parse_math": False,
    "axes.unicode_minus": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.constrained_layout.use": True,
}


NAMES = {  # of metrics that are not written as their keys are
    "auc": "AUC",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "hamming_loss": "Hamming loss",
    "weighted_f1": "weighted F1",
    "partial_auc": "partial AUC",
    "sensitivity_at_95_specificity": "sensitivity at 95 % specificity",
    "cohen_kappa": "Cohen's kappa",
    "matthews_correlation": "Matthews correlation",
    "brier_score": "Brier score",
    "jpeg_compression": "JPEG compression",
    "latency_milliseconds": "milliseconds for one picture",
    "weights_size": "bytes of the weights",
    "memory": "bytes of memory",
    "every_class": "recall of every class",
    "ece": "ECE, 15 bins of equal width",
    "ece_equal_mass": "ECE, 15 bins of equal mass",
    "smooth_ece": "smooth ECE, no bins",
}
BESIDE_TITLE: Any = {"loc": "lower right", "bbox_to_anchor": (1, 0.985), "borderaxespad": 0, "ncols": 2}


def learning_curves(epochs: Sequence[dict[str, Any]], *, metric: str, best_step: int | None) -> str:
    """Draw train and val loss, and the val `metric` that chose the epoch, over all phases.

    Args:
        epochs: epoch records of history.jsonl, in order. best_step: step of the epoch that was kept.
    """

    def _fill(figure: Figure) -> None:
        losses, scores = figure.subplots(1, 2)
        _draw_lines(losses, epochs, {"train": ("train", "loss"), "val": ("val", "log_loss")})
        losses.set_title("Loss (lower is better)")
        _draw_lines(scores, epochs, {f"val {spell(metric)}": ("val", metric)}, colors=(ORANGE,))
        better = "lower" if metric == "log_loss" else "higher"
        scores.set_title(f"Validation {spell(metric)} ({better} is better)")
        for axes, height in ((losses, 0.93), (scores, 0.12)):  # where curves that go well leave room
            _mark_phases(axes, epochs)
            _mark_best(axes, epochs, best_step, height=height)
            axes.set_xlabel("epoch, over all phases")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.margins(y=0.15)
        losses.legend(**BESIDE_TITLE)

    return _draw(_fill, (9.2, 3.1))


def learning_rate_curve(records: Sequence[dict[str, Any]]) -> str:
    """Draw the learning rate of head and backbone over steps, from records of history.jsonl that hold both."""

    def _fill(figure: Figure) -> None:
        axes = figure.subplots()
        steps = [record["step"] for record in records]
        for part, color, dash in (("head", BLUE, "-"), ("backbone", ORANGE, "--")):
            rates = [record["learning_rate"].get(part) or np.nan for record in records]
            if not np.isnan(rates).all():
                axes.plot(steps, rates, color=color, linestyle=dash, label=part, marker=_dot(rates))
        axes.set_title("Learning rate")
        axes.set_xlabel("optimizer step")
        axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        axes.legend(**BESIDE_TITLE)

    return _draw(_fill, (9.2, 2.4))


def confusion_chart(matrix: NDArray[np.int64], classes: Sequence[str]) -> str:
    """Draw counts (C, C); the shade is the share of the row, so small classes are as readable as large ones."""
    matrix = np.asarray(matrix)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    names = [shorten(name) for name in classes]

    def _fill(figure: Figure) -> None:
        axes = figure.subplots()
        axes.imshow(_shade(shares), interpolation="nearest")
        axes.grid(False)
        axes.spines[:].set_visible(False)
        named = np.arange(len(names)) if len(names) <= MOST_NAMED_CLASSES else np.arange(0)
        slanted = len(names) > 3 or max(map(len, names)) > 12
        size = 10 if len(names) <= 20 else 7
        axes.set_xticks(named, [names[index] for index in named], fontsize=size)
        axes.set_yticks(named, [names[index] for index in named], fontsize=size)
        if slanted:
            axes.tick_params(axis="x", labelrotation=40)
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        axes.tick_params(length=0)
        axes.set_xlabel("predicted (columns)")
        axes.set_ylabel("actual (rows)")
        if len(names) <= MOST_CELLS_WITH_NUMBERS:
            _write_cells(axes, matrix, shares)

    side = float(np.clip(1.6 + 0.62 * len(names), 3.7, 9))
    return _draw(_fill, (side + 0.5, side))


def roc_chart(points: NDArray[np.float64], *, positive: str, area: float) -> str:
    """Draw a ROC curve (T, 2) of (false positive rate, true positive rate) for the class `positive`."""
    points = np.asarray(points)

    def _fill(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1.2)
        axes.plot(points[:, 0], points[:, 1], color=BLUE)
        axes.fill_between(points[:, 0], points[:, 1], color=BLUE, alpha=0.10, linewidth=0)
        axes.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
        axes.text(0.97, 0.06, f"AUC {area:.3f}", ha="right", fontsize=12, fontweight="bold")
        axes.text(0.53, 0.47, "chance", rotation=45, ha="center", va="top", fontsize=9, alpha=0.75)
        axes.set_xlabel(f"others taken for {shorten(positive)} (share)")
        axes.set_ylabel(f"{shorten(positive)} found (share)")

    return _draw(_fill, (4.2, 3.84))


def reliability_chart(calibration: dict[str, Any]) -> str:
    """Draw the share that is right against the confidence, with Wilson intervals, over how many images have it.

    Args:
        calibration: as metrics.json has it; the tempered probabilities are drawn where there are some.
    """

    def _fill(figure: Figure) -> None:
        axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1.2, label="as sure as right")
        drawn = {"as they are": calibration["plain"], "with the temperature": calibration["tempered"]}
        looks = ((BLUE, "o", "-"), (ORANGE, "s", "--"))
        for (label, part), (color, marker, dash) in zip(drawn.items(), looks, strict=True):
            if part:
                _draw_bins(axes, counts, part["reliability"], {"color": color, "linestyle": dash}, label, marker)
        axes.set(xlim=(0, 1), ylim=(0, 1.03))
        axes.set_ylabel("right (share)")
        axes.legend(loc="upper left")
        counts.set_ylabel("images")
        counts.set_xlabel("confidence: the largest probability")

    return _draw(_fill, (4.4, 4.9))


def confidence_chart(spread: dict[str, Any]) -> str:
    """Draw how many images have which confidence, the right answers upwards and the wrong ones downwards.

    Args:
        spread: `right` and `wrong` of confidence_distribution in metrics.json.
    """

    def _fill(figure: Figure) -> None:
        axes = figure.subplots()
        for answer, color, side, dash in (("right", BLUE, 1, "-"), ("wrong", ORANGE, -1, "--")):
            counts, median = side * np.array(spread[answer]["counts"]), spread[answer]["median"]
            edges = np.linspace(0, 1, len(counts) + 1)
            axes.stairs(counts, edges, color=color, fill=True, alpha=0.45)
            axes.stairs(counts, edges, color=color, linestyle=dash, label=answer)
            if median is not None:
                axes.axvline(median, *((0.5, 0.97) if side > 0 else (0.03, 0.5)), color=color, linestyle=":")
        most = max(*spread["right"]["counts"], *spread["wrong"]["counts"], 1)
        axes.axhline(0, color=FAINT, linewidth=1)
        axes.set(xlim=(0, 1), ylim=(-1.1 * most, 1.1 * most))
        axes.yaxis.set_major_formatter(lambda count, _: f"{abs(count):g}")
        axes.set_xlabel("confidence: the largest probability")
        axes.set_ylabel("images")
        axes.legend(loc="upper left")

    return _draw(_fill, (4.4, 3.4))


def risk_coverage_chart(selective: dict[str, Any]) -> str:
    """Draw the error among the surest images over their share, from `selective` of metrics.json."""
    coverage, risk = np.array(selective["curve"]).T

    def _fill(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(risk[-1], color=FAINT, linestyle=":", linewidth=1.2)
        axes.plot(coverage, risk, color=BLUE, drawstyle="steps-mid", marker=_dot(risk))
        at_90 = selective["error_at_90"]["value"]
        axes.plot([0.9], [at_90], color=ORANGE, marker="o", linestyle="")
        place: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "color": ORANGE}
        axes.text(0.97, 0.06, f"surest 90 %: {at_90:.3f}", **place)
        axes.text(0.01, risk[-1], "of all images", va="bottom", fontsize=9, alpha=0.75)
        axes.set(xlim=(0, 1.01), ylim=(0, max(1.25 * risk.max(), 0.01)))
        axes.set_title(f"AUGRC {selective['augrc']['value']:.4f} (lower is better)")
        axes.set_xlabel("share of the images that are answered, the surest first")
        axes.set_ylabel("errors among them (share)")

    return _draw(_fill, (5.2, 3.4))


def inline(svg: str, name: str, description: str) -> str:
    """Return `svg` ready to stand in an HTML page: scaled, named for screen readers, in the page's ink.

    Args:
        svg: from a function of this file. name: distinct on the page; keeps the ids of its charts apart.
        description: what the chart shows, plain text.
    """
    from markupsafe import escape

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    for drawn, shown in ((INK, "currentColor"), (PAPER, "none"), (BLUE, "var(--blue)")):
        svg = svg.replace(f": {drawn}", f": {shown}")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(description)}" ', 1)


def spell(metric: str) -> str:
    """Return `metric` as people write it."""
    return NAMES.get(metric, metric.replace("_", " "))


def shorten(name: str) -> str:
    """Return `name` on one line, in characters XML can hold, with an ellipsis where it is long."""
    name = re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", name)
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "\u2026"


def _draw(draw: Callable[[Figure], None], size: tuple[float, float]) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with _style():
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        draw(figure)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    return buffer.getvalue()


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl

    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # The reader's browser has glyphs for every script; only the width is guessed here.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield


def _draw_lines(
    axes: Axes,
    epochs: Sequence[dict[str, Any]],
    curves: dict[str, tuple[str, str]],
    *,
    colors: tuple[str, ...] = (BLUE, ORANGE),
) -> None:
    positions = np.arange(1, len(epochs) + 1)
    for (label, (part, key)), color, dash in zip(curves.items(), colors, ("-", "--"), strict=False):
        values = [np.nan if epoch[part].get(key) is None else epoch[part][key] for epoch in epochs]
        axes.plot(positions, values, color=color, linestyle=dash, label=label, marker=_dot(values))


def _dot(values: Sequence[float]) -> str:
    return "o" if len(values) == 1 else ""  # a line of one point would be invisible


def _draw_bins(
    axes: Axes, counts: Axes, bins: Sequence[dict[str, Any]], line: dict[str, Any], label: str, marker: str
) -> None:
    """Draw bins of confidence: the share that is right with its interval, and how many images there are."""
    place, share = [row["confidence"] for row in bins], np.array([row["accuracy"] for row in bins])
    ends = np.array([row["interval"] for row in bins]).T  # (2, bins)
    reach = np.maximum([share - ends[0], ends[1] - share], 0)
    axes.errorbar(place, share, yerr=reach, **line, marker=marker, markersize=5, elinewidth=1, capsize=2, label=label)
    num_bins = round(1 / (bins[0]["high"] - bins[0]["low"]))
    heights = np.zeros(num_bins)
    heights[[round(row["low"] * num_bins) for row in bins]] = [row["count"] for row in bins]
    counts.stairs(heights, np.linspace(0, 1, num_bins + 1), **line)


def _mark_phases(axes: Axes, epochs: Sequence[dict[str, Any]]) -> None:
    """Separate the phases and name each at the top."""
    names = [epoch["phase"] for epoch in epochs]
    starts = [index for index, name in enumerate(names) if index == 0 or name != names[index - 1]]
    for start, end in zip(starts, [*starts[1:], len(names)], strict=True):
        if start:
            axes.axvline(start + 0.5, color=FAINT, linewidth=1)
        middle = (start + end + 1) / 2
        place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "bottom"}
        axes.text(middle, 0.01, shorten(names[start]), **place, fontsize=8.5, alpha=0.75)


def _mark_best(axes: Axes, epochs: Sequence[dict[str, Any]], best_step: int | None, *, height: float) -> None:
    found = [index for index, epoch in enumerate(epochs, start=1) if epoch["step"] == best_step]
    if found:
        axes.axvline(found[-1], color=GREEN, linewidth=1.4, linestyle="-.")
        place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "va": "center", "ha": "right"}
        axes.text(found[-1] - 0.01 * len(epochs), height, "kept", **place, fontsize=8.5, color=GREEN)


def _shade(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return RGB (C, C, 3) from near white to deep blue."""
    light, dark = np.array([0.93, 0.955, 0.98]), np.array([0.0, 0.33, 0.56])
    colors: NDArray[np.float64] = light + (dark - light) * shares[..., None]
    return colors


def _write_cells(axes: Axes, matrix: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    few = len(matrix) <= 6
    for row, column in np.ndindex(*matrix.shape):
        # Not INK: the cell's own shade stays the same on a dark page.
        color = "#ffffff" if shares[row, column] > 0.72 else "#10202e"
        text = f"{matrix[row, column]:,}"
        place: dict[str, Any] = {"ha": "center", "color": color}
        axes.text(column, row, text, **place, va="bottom" if few else "center", fontsize=12 if few else 9)
        if few:
            axes.text(column, row + 0.08, f"{shares[row, column]:.0%}", **place, va="top", fontsize=9)
