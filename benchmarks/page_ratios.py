"""Every "A times as fast as B" of docs/performance.md: the table, its picture, and the lines beside them."""

from functools import reduce

from matplotlib import pyplot
from result import DOCS, interval, read

MOST_TIMES_PLAIN = 1.1  # of B8


def latency(backbone, engine):
    return "backbones", backbone, "ways", engine, "times_eager"


# what is compared, result file, keys to the ratio, the least that was asked for or None
RATIOS = (
    ("B1 search of 48 heads : textbook loop, 1 head", "head_sweep", ("times_faster", "textbook"), 20),
    ("B1 search of 48 heads : scikit-learn on eager features", "head_sweep", ("times_faster", "scikit_learn"), 2),
    ("B1 search of 48 heads : Keras on PyTorch, bottleneck, 1 head", "head_sweep", ("times_faster", "keras"), None),
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
        (f"Step past resting depthwise kernels, {title} : PyTorch's gradients", "frozen_kernels", keys, None)
        for title, keys in (
            ("float32", ("times_faster_than_pytorch", "float32")),
            ("bfloat16", ("times_faster_than_pytorch", "bfloat16")),
            ("the faster precision of each", ("fastest_times_faster", "PyTorch")),
        )
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


def measured():
    """Yield (what, ratio, interval, n, least) of every comparison whose result is there."""
    for what, name, keys, least in RATIOS:
        result = read(name)
        found = reduce(lambda part, key: part.get(key, {}), keys, result or {})
        if found:
            yield what, found["ratio"], found["interval"], found["n"], least


def picture(rows):
    figure, axes = pyplot.subplots(figsize=(9, 0.36 * len(rows) + 1), layout="constrained")
    for place, (_, ratio, (low, high), _, least) in enumerate(rows):
        axes.plot([low, high], [place, place], color="#4477aa", linewidth=5, alpha=0.4, solid_capstyle="butt")
        axes.plot(ratio, place, "o", color="#4477aa", label="measured, with 95 % interval" if place == 0 else None)
        if least is not None:
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
    figure.savefig(DOCS / "performance.svg", metadata={"Date": None})


def speed_table(rows):
    lines = ["| what : against what | times as fast | 95 % interval | n | asked for |", "|---|---|---|---|---|"]
    lines += [
        f"| {what} | {ratio:.2f} | {interval(*bounds, 2)} | {n} | {'' if least is None else f'{least:g}'} |"
        for what, ratio, bounds, n, least in rows
    ]
    return lines


def sweep_lines():
    """Return the lines about how long B1 takes, and how good its heads are."""
    result = read("head_sweep")
    heads = ", ".join(
        f"{name.replace('_', '-')} {result['seconds'][name]['mean']:.0f} s and {share:.3f}"
        for name, share in result["test_accuracy"].items()
    )
    gains = ", ".join(
        f"{name.replace('_', '-')} {gain['mean']:+.3f} ({interval(*gain['interval'], 3)})"
        for name, gain in result["test_accuracy_gain"].items()
    )
    return [
        f"B1 is timed from the files of {sum(result['num_train_val_test'][:2])} train and val images to the best head;",
        "the textbook loop is reckoned from some of its epochs. Seconds, and accuracy on",
        f"{result['num_train_val_test'][2]} test images: {heads}.",
        f"fitwell's accuracy minus everyone's: {gains}.",
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
