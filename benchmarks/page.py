"""Write docs/performance.md and its pictures from the results that are there.

python benchmarks/page.py
"""

import statistics
from pathlib import Path

import matplotlib
from matplotlib import pyplot
from page_ratios import latency_lines, measured, picture, speed_table, step_line, sweep_lines
from result import DOCS, RESULTS, interval, read

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "fitwell"
PEERS = {"fastai": "time_to_quality", "autogluon": "time_to_quality_autogluon"}
QUALITY = ("elpv", "logos", "emoji")
OTHER_SEEDS = (23, 41, 57)  # which elpv was divided by later


def quality_table():
    lines = ["| images | metric | default recipe | logistic regression | paired difference | seconds | folds |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name in ("elpv", *(f"elpv_seed_{seed}" for seed in OTHER_SEEDS), "logos", "emoji"):
        result = read(f"default_recipe_{name}")
        for metric, gain in (result or {"paired_difference": {}})["paired_difference"].items():
            ours, theirs = (result[side][metric]["mean"] for side in ("fitwell", "regression"))
            bounds = f" ({interval(*gain['interval'], 3)})" if gain["interval"] else ""
            lines.append(
                f"| {name.replace('_', ' ')} | {metric} | {ours:.3f} | {theirs:.3f} | {gain['mean']:+.3f}{bounds} "
                f"| {result['seconds']['mean']:.0f} | {gain['n']} |"
            )
    return lines


def time_section():
    """Return the lines about when a model as good as a peer's last one exists, and draw the curves."""
    found = {peer: read(name) for peer, name in PEERS.items()}
    if not found["fastai"]:
        return []
    lines = [
        "## Time to quality",
        "",
        "When a model with the val score that fastai's `fine_tune(5)`, or AutoGluon's `fit` of six epochs, ends with",
        "lies on the disk: seconds from the command, empty cache, same weights, pictures and split, 2 CPU cores.",
        "fastai's scores are those of whole runs, its seconds those of a run on a fifth of the images, times five.",
        "Each peer ran in the same hour as fitwell beside it.",
        "",
        "| peer | images, seed | metric | peer's score | peer, s | fitwell's best | fitwell, s | times sooner |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for peer, result in found.items():
        for name, entry in (result or {"sets": {}})["sets"].items():
            for run in entry["runs"]:
                ours, sooner = run["reached_seconds"], run["times_sooner"]
                best = max(score for _, score in run["fitwell"])
                reached = f"{ours:.0f} | {sooner:.1f}" if ours else "not reached |"
                lines.append(
                    f"| {peer} | {name} {run['seed']} | {entry['metric']} | {run['target']:.3f} "
                    f"| {run['peer_seconds']:.0f} | {best:.3f} | {reached} |"
                )
    draw_curves(found["fastai"]["sets"])
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
        "## B2: what kept views cost",
        "",
        *view_costs(),
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


def view_costs():
    """Return a table of what K views take in time and on disk."""
    lines = [
        "Times as fast as the textbook over 20 epochs, the making of K views included; bytes of one kept view.",
        "",
        "| backbone | K = 1 | K = 2 | K = 4 | K = 8 | kept, an image and view |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in read("last_stage_speed")["backbones"].items():
        speeds = " | ".join(f"{speed:.1f}" for speed in found["times_faster_over_20_epochs_with_views"].values())
        lines.append(f"| {name} | {speeds} | {found['kept_bytes_per_image'] / 1000:.0f} KB |")
    return lines


def progressive_section():
    """Return the lines about pictures that grow from phase to phase."""
    sets = {name: result for name in QUALITY if (result := read(f"progressive_{name}"))}
    if not sets:
        return []
    lines = [
        "## Pictures that grow",
        "",
        "Fine-tuning of all blocks in three stretches of two epochs, on pictures that grow or on the full size",
        "throughout; both are judged at the full size. Seconds of the whole command, empty cache; paired over folds.",
        "",
        "| images | pixels | metric | full size | growing | paired difference | times as fast | folds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, result in sets.items():
        sooner = result["full_over_growing_seconds"]
        sizes = ", ".join(str(size) for size in result["sizes"]["growing"])
        for metric, gain in result["growing_minus_full"].items():
            full, growing = (result[way][metric]["mean"] for way in ("full", "growing"))
            lines.append(
                f"| {name} | {sizes} | {metric} | {full:.3f} | {growing:.3f} "
                f"| {gain['mean']:+.3f} ({interval(*gain['interval'], 3)}) "
                f"| {sooner['ratio']:.2f} ({interval(*sooner['interval'], 2)}) | {gain['n']} |"
            )
    return [*lines, ""]


def shortlist_section():
    """Return the lines about B7: the backbone that halving finds."""
    result = read("backbone_shortlist")
    if not result:
        return []
    cost, regret = result["cost_ratio"], result["regret"]
    bounds = f" ({interval(*cost['interval'], 2)})" if cost["interval"] else ""
    lines = [
        "## B7: the shortlist of backbones",
        "",
        f"Successive halving of linear probes on growing subsets of {result['images']} images, against probing every",
        f"backbone at hand on all. Processor time, features included: {cost['ratio']:.2f} times less{bounds}; regret,",
        f"the val metric of the best probe less that of the winner, {regret['mean']:.4f} in the mean, n = {cost['n']}.",
        "Of those that val cannot tell from the best, the fastest wins.",
        "",
        "| images | metric | halving, s | all, s | winner | regret | probes on all images |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        probes = ", ".join(f"{name} {value:.3f}" for name, value in row["val_on_all"].items())
        name = row["data"] if row["data"] == "elpv" else Path(row["data"]).parent.name
        lines.append(
            f"| {name}, seed {row['seed']} | {row['metric']} | {row['halving_seconds']:.0f} | {row['all_seconds']:.0f} "
            f"| {row['winner']} | {row['regret']:.4f} | {probes} |"
        )
    return [*lines, ""]


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


def machines_section():
    """Return the lines about where and when each result was measured."""
    lines = [
        "## Machines",
        "",
        "What one thread did beside each result: products of float32 matrices, copies, JPEGs of 500 x 375 pixels.",
        "",
        "| result | day | processor | torch | gigaflops | gigabytes/s | JPEGs/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for path in sorted(RESULTS.glob("*.json")):
        result = read(path.stem)
        machine = result["machine"]
        probe = [f"{value:.0f}" for value in machine.get("one_thread", {}).values()] or ["", "", ""]
        told = [path.stem, result["date"], machine["processor"], result["versions"]["torch"], *probe]
        lines.append(f"| {' | '.join(told)} |")
    return [*lines, ""]


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    rows = list(measured())
    picture(rows)
    ways = read("step_overhead")["ways"]
    steps = {name.replace("_", " "): way["microseconds_per_step"]["mean"] for name, way in ways.items()}
    text = [
        "# How fast fitwell is, and what it costs",
        "",
        "Written by `python benchmarks/page.py` from `benchmarks/results/`. `benchmarks/README.md` names the scripts.",
        "2 virtual cores of shared hosts, not always the same one: [machines](#machines) has each result's. Candidates",
        "ran in turn, A B A B; peers had the same weights, images and size.",
        "",
        "![times as fast, with intervals](performance.svg)",
        "",
        *speed_table(rows),
        "",
        *sweep_lines(),
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
        "Where the interval of the difference holds zero, nothing tells the two apart. The recipe was settled on",
        "elpv's folds by seed 0, `select.keep` on those by seed 41, whose row is of the default before that: the best",
        "epoch kept. Nobody had looked at those by seed 57 before.",
        "",
        *quality_table(),
        "",
        *time_section(),
        *protocol_section(),
        *views_section(),
        *progressive_section(),
        *shortlist_section(),
        *growth_section(),
        *machines_section(),
    ]
    (DOCS / "performance.md").write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
