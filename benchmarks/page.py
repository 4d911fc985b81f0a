"""Write docs/performance.md and its picture from the results that are there.

python benchmarks/page.py
"""

import json
import statistics
from functools import reduce

import matplotlib
from result import RESULTS

matplotlib.use("svg")
from matplotlib import pyplot

DOCS = RESULTS.parents[1] / "docs"
MOST_TIMES_PLAIN = 1.1  # of B8


def latency(backbone, engine):
    return "backbones", backbone, "ways", engine, "times_eager"


# what is compared, result file, keys to the ratio, the least that was asked for
RATIOS = (
    ("B1 search of 48 heads : textbook loop, 1 head", "head_sweep", ("times_faster", "textbook"), 20),
    ("B1 search of 48 heads : scikit-learn on eager features", "head_sweep", ("times_faster", "scikit_learn"), 2),
    *(
        (
            f"B2 epoch of the last stage, {title} : {peer}",
            "last_stage_speed",
            ("backbones", name, "times_faster", peer),
            least,
        )
        for title, name, least in (("EfficientNet-Lite0", "tf_efficientnet_lite0", 5), ("ResNet-18", "resnet18", 2))
        for peer in ("textbook", "textbook channels_last")
    ),
    *(
        (f"{number} {title}, {size} : torchvision", "decode", ("sizes", size.replace(" ", ""), state, "ratio"), least)
        for number, title, state, floors in (
            ("B3", "first decode of a JPEG", "cold", (1.0, 1.6, 3.5)),
            ("B4", "pictures from the cache", "warm", (3, 3, 3)),
        )
        for size, least in zip(("0.2 MP", "1.2 MP", "12 MP"), floors, strict=True)
    ),
    *(
        (f"B5 frozen features by {title} : PyTorch", "extraction", ("ways", name, "times_torch_eager"), 1.8)
        for title, name in (("ONNX Runtime", "onnxruntime"), ("OpenVINO", "openvino"))
    ),
    *(
        (
            f"B6 one picture, {title}, {engine} : PyTorch",
            "predict_latency",
            ("backbones", name, "ways", key, "times_eager"),
            3,
        )
        for title, name in (("EfficientNet-Lite0", "tf_efficientnet_lite0"), ("ResNet-18", "resnet18"))
        for engine, key in (
            ("ONNX Runtime", "onnxruntime"),
            ("OpenVINO", "openvino"),
            ("OpenVINO in bfloat16", "openvino_bfloat16"),
        )
    ),
)
QUALITY = ("elpv", "logos", "emoji")


def read(name):
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def measured():
    """Yield (what, ratio, interval, n, least) of every comparison whose result is there."""
    for what, name, keys, least in RATIOS:
        result = read(name)
        if result:
            found = reduce(lambda part, key: part[key], keys, result)
            yield what, found["ratio"], found["interval"], found["n"], least


def picture(rows):
    figure, axes = pyplot.subplots(figsize=(9, 0.36 * len(rows) + 1), layout="constrained")
    for place, (_, ratio, (low, high), _, least) in enumerate(rows):
        axes.plot([low, high], [place, place], color="#4477aa", linewidth=5, alpha=0.4, solid_capstyle="butt")
        axes.plot(ratio, place, "o", color="#4477aa", label="measured, with 95 % interval" if place == 0 else None)
        axes.plot(least, place, "|", color="#aa3377", markersize=14, label="asked for" if place == 0 else None)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    ticks = [0.5, 1, 2, 5, 10, 20, 50, 100]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlabel("times as fast (logarithmic)")
    axes.axvline(1, color="#888888", linewidth=0.8)
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    matplotlib.rcParams["svg.hashsalt"] = "fitwell"
    figure.savefig(DOCS / "performance.svg", metadata={"Date": None})


def interval(low, high, digits):
    return f"{low:.{digits}f} to {high:.{digits}f}"


def speed_table(rows):
    lines = ["| what : against what | times as fast | 95 % interval | n | asked for |", "|---|---|---|---|---|"]
    lines += [
        f"| {what} | {ratio:.2f} | {interval(*bounds, 2)} | {n} | {least:g} |" for what, ratio, bounds, n, least in rows
    ]
    return lines


def quality_table():
    lines = ["| images | metric | default recipe | logistic regression | paired difference | seconds | folds |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name in QUALITY:
        result = read(f"default_recipe_{name}")
        for metric, gain in (result or {"paired_difference": {}})["paired_difference"].items():
            ours, theirs = (result[side][metric]["mean"] for side in ("fitwell", "regression"))
            bounds = f" ({interval(*gain['interval'], 3)})" if gain["interval"] else ""
            lines.append(
                f"| {name} | {metric} | {ours:.3f} | {theirs:.3f} | {gain['mean']:+.3f}{bounds} "
                f"| {result['seconds']['mean']:.0f} | {gain['n']} |"
            )
    return lines


def time_section():
    """Return the lines about when a model as good as fastai's last one exists, and draw the curves."""
    result = read("time_to_quality")
    if not result:
        return []
    lines = [
        "## Time to quality",
        "",
        "When a model with the val score that fastai's `fine_tune(5)` ends with lies on the",
    ]
    lines += [
        "disk: seconds from the command, empty cache, same weights, pictures and split, 2 CPU cores. fastai's scores"
    ]
    lines += ["are those of whole runs, its seconds those of a run on a fifth of the images, times five, in the same"]
    lines += ["hour as fitwell's.", ""]
    lines += ["| images, seed | metric | fastai's score | fastai, s | fitwell's best | fitwell, s | times sooner |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, entry in result["sets"].items():
        for run in entry["runs"]:
            ours, sooner = run["reached_seconds"], run["times_sooner"]
            best = max(score for _, score in run["fitwell"])
            reached = f"{ours:.0f} | {sooner:.1f}" if ours else "not reached |"
            lines.append(
                f"| {name} {run['seed']} | {entry['metric']} | {run['target']:.3f} | {run['peer_seconds']:.0f} "
                f"| {best:.3f} | {reached} |"
            )
    draw_curves(result["sets"])
    return [*lines, "", "![val score by the second](time_to_quality.svg)", ""]


def draw_curves(sets):
    figure, axes = pyplot.subplots(1, len(sets), figsize=(3.6 * len(sets), 3.2), layout="constrained", squeeze=False)
    for axis, (name, entry) in zip(axes[0], sets.items(), strict=True):
        for run in entry["runs"]:
            for way, color in (("fitwell", "#4477aa"), ("fastai", "#aa3377")):
                seconds, scores = zip(*run[way], strict=True)
                axis.plot(seconds, scores, "o-", markersize=3, color=color, alpha=0.8, label=way)
        axis.set_xscale("log")
        axis.set_title(name)
        axis.set_xlabel("seconds (logarithmic)")
        axis.set_ylabel(f"val {entry['metric'].replace('_', ' ')}")
        axis.grid(alpha=0.3)
    handles = dict(zip(*reversed(axes[0][0].get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside upper right", ncols=2, frameon=False)
    figure.savefig(DOCS / "time_to_quality.svg", metadata={"Date": None})


def views_section():
    """Return the lines about what kept views do to accuracy."""
    sets = {name: result for name in QUALITY if (result := read(f"last_stage_accuracy_{name}"))}
    if not sets:
        return []
    lines = [
        "## B2: the accuracy of kept views",
        "",
        "The last stage of EfficientNet-Lite0, trained on pictures augmented anew in every epoch (fresh), or on K kept",
        "views of each. Best val accuracy, and its difference to fresh with a 95 % interval over paired seeds. The",
        "textbook loop updates BatchNorm; ours leaves it as it was pretrained.",
        "",
    ]
    for name, result in sets.items():
        size = f"{result['images']} images of {result['size']} pixels, {result['epochs']} epochs"
        n = result["accuracy"]["fresh"]["best_val"]["n"]
        lines += [f"{name}, {size}, n = {n} seeds:", "", "| way | accuracy | minus fresh |", "|---|---|---|"]
        for way, found in result["accuracy"].items():
            title = f"K = {way}" if way.isdigit() else way
            minus = found["minus_fresh"]
            reach = "" if way == "fresh" else f"{minus['mean']:+.3f} ({interval(*minus['interval'], 3)})"
            lines.append(f"| {title} | {found['best_val']['mean']:.3f} | {reach} |")
        lines.append("")
    return lines


def growth_section():
    """Return the lines about what an image costs among few and among many."""
    result = read("growth")
    if not result:
        return []
    columns = ("0.2MP", "64px")
    lines = [
        "## Growth",
        "",
        "Synthetic JPEGs, five to a group: divide the table, hash, keep and read pictures, and the activations of a",
        "toy network. Median microseconds an image of n runs, for pictures of 0.2 megapixels and, where the",
        "bookkeeping shows most, of 64 x 64 pixels. Bytes that Python, NumPy and Arrow hold for an image at the end;",
        "the peak of resident memory beyond what the process held before, with what allocators keep.",
        "",
        "| images | n | 0.2 megapixels | 64 x 64 | held, bytes an image | resident, in all |",
        "|---|---|---|---|---|---|",
    ]
    memory = result["memory"]
    for size, held in memory["held"]["bytes_per_image"].items():
        times = " | ".join(f"{result[picture]['microseconds_per_image'][size]:,.0f}" for picture in columns)
        rows = [row for row in result["64px"]["rows"] if row["images"] == int(size)]
        resident = statistics.median(row["resident_bytes"] for row in rows)
        lines.append(f"| {int(size):,} | {len(rows)} | {times} | {held:.0f} | {resident / 1e6:.0f} MB |")
    judged = [*(result[name] for name in columns), memory["held"], memory["peak"]]
    ratios = [each["most_over_least"] for each in judged]
    floor = memory["held"]["floor"]
    is_missed = any(ratio > floor for ratio in ratios)
    raised = " and ".join(f"{value:.0f}" for value in memory["peak"]["bytes_per_further_image"].values())
    by_image = ", ".join(f"{row['peak_bytes'] / row['images']:.0f}" for row in memory["rows"])
    capped = "stayed below it" if result["cap"]["below_cap"] else "went beyond it"
    return [
        *lines,
        "",
        f"Most over least: {ratios[0]} and {ratios[1]} in time, {ratios[2]} in what is held. Each further image raises",
        f"the peak of what is allocated by {raised} bytes ({ratios[3]}). {floor} is asked for, and",
        f"{'missed' if is_missed else 'kept'}. By the image that peak, above the one of 56 images, is {by_image}",
        f"bytes. With a cap of a third of what it needs the cache {capped} at every look.",
        "",
    ]


def protocol_section():
    """Return the lines about elpv by the paper's protocol."""
    random, grouped = read("elpv_random"), read("elpv_grouped")
    if not random or not grouped:
        return []
    weighted, by_module = random["weighted_accuracy"], grouped["weighted_accuracy"]
    return [
        "## elpv, the paper's protocol",
        "",
        f"Weighted accuracy {weighted['mean']:.4f} ({interval(*weighted['interval'], 4)}) over {weighted['n']} random",
        "stratified 75/25 splits; published 0.8842 (Deitsch et al. 2019, VGG-19). Once the frozen layers are kept, a",
        f"split takes {random['seconds']['others']['mean']:.0f} s. Of whole modules, in {by_module['n']} folds, it is",
        f"{by_module['mean']:.4f} ({interval(*by_module['interval'], 4)});",
        "[benchmarks/elpv.md](../benchmarks/elpv.md) has both.",
        "",
    ]


def latency_lines():
    """Return the lines about what each way to predict one picture does to accuracy."""
    told = []
    for backbone, found in read("predict_latency")["backbones"].items():
        shares = ", ".join(f"{name} {way['accuracy']:.4f}" for name, way in found["ways"].items())
        told.append(f"{backbone} on {found['num_images']:,} solar cells: {shares}.")
    return [
        "B6 may cost half a point of accuracy, with a head by logistic regression (ResNet-18 on random weights):",
        *told,
    ]


def step_line(way):
    """Return what our step takes against both, and whether the floor is missed."""
    plain, same = (
        f"{each['ratio']} ({interval(*each['interval'], 3)})" for each in (way["times_plain"], way["times_same_work"])
    )
    missed = ", and missed" if way["times_plain"]["ratio"] > MOST_TIMES_PLAIN else ""
    asked = f"{MOST_TIMES_PLAIN} times plain is asked for{missed}"
    return f"fitwell takes {plain} times plain, {same} times the same work; {asked}."


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    rows = list(measured())
    picture(rows)
    machine, ways = read("extraction")["machine"], read("step_overhead")["ways"]
    probe = ", ".join(f"{name.replace('_', ' ')} {value:.0f}" for name, value in machine["one_thread"].items())
    steps = {name.replace("_", " "): way["microseconds_per_step"]["mean"] for name, way in ways.items()}
    text = [
        "# How fast fitwell is, and what it costs",
        "",
        "Written by `python benchmarks/page.py` from `benchmarks/results/`. `benchmarks/README.md` names the scripts.",
        f"Machine: {machine['processor']}, 2 virtual cores of a shared host. One thread did: {probe}.",
        "Candidates ran in turn, A B A B, in one process; peers with the same weights, images and size.",
        "",
        "![times as fast, with intervals](performance.svg)",
        "",
        *speed_table(rows),
        "",
        "B1 is timed from the files to the best head; the textbook loop is reckoned from some of its epochs.",
        "B8, a step of a tiny network besides its arithmetic: "
        + ", ".join(f"{name} {mean:.0f} µs" for name, mean in steps.items())
        + ".",
        "`plain` neither clips nor counts, `plain fused` has the kernel that our AdamW calls; `same work` does what",
        "our loop does.",
        step_line(ways["fitwell"]),
        "",
        *latency_lines(),
        "",
        "## The default recipe",
        "",
        "`fitwell train` from an empty cache, paired over grouped folds with logistic regression on the same frozen",
        "features (its strength chosen on val). Seconds are those of the whole command, check and report included.",
        "Where the interval of the difference holds zero, nothing tells the two apart.",
        "",
        *quality_table(),
        "",
        *time_section(),
        *protocol_section(),
        *views_section(),
        *growth_section(),
    ]
    (DOCS / "performance.md").write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
