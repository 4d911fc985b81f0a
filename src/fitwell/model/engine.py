"""What runs a network, or the frozen part of one: PyTorch, its compiler, ONNX Runtime or OpenVINO.

Only what no longer trains may go through an engine: all but `eager` keep a copy of the weights as they were.
"""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import sysconfig
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fitwell.errors import UsageError
from fitwell.model.compute import Compute

if TYPE_CHECKING:
    import openvino

Extract = Callable[[Tensor], Tensor]  # images or activations (B, ...) on the CPU to (B, ...) float32 on the CPU
EAGER = {"eager": "float32", "eager_bfloat16": "bfloat16"}  # what PyTorch multiplies in
ENGINES = (*EAGER, "compiled", "onnxruntime", "openvino", "openvino_bfloat16")
FEW_IMAGES = 4  # at once, or maps leave the processor's caches: with 32 EfficientNet-Lite0 took 1.2 times as long


def available_engines(device: str = "cpu") -> tuple[str, ...]:
    """Return those of `ENGINES` that work on this machine for `device`."""
    return tuple(name for name in ENGINES if _obstacle(name, device) is None)


def build_engine(name: str, prefix: nn.Module, compute: Compute, input_shape: tuple[int, ...]) -> Extract:
    """Make `prefix` ready to run on batches of any size.

    All multiply in float32, but `compiled` in the precision of `compute`, and those whose names end in bfloat16.
    `compiled` takes a minute, and seconds more for the next batch of another size.

    Args:
        name: one of `ENGINES`.
        prefix: images or activations (B, ...) to (B, ...), on the device of `compute`; is switched to evaluation.
        input_shape: of one input; (3, S, S) for images of S pixels.

    Raises:
        UsageError: when the engine is not there, or cannot run this module.
    """
    obstacle = _obstacle(name, compute.device)
    if obstacle is not None:
        raise obstacle
    # A chain of blocks in evaluation may itself stand at training, and the exporter ends by making its blocks agree.
    prefix.eval()
    if name in EAGER:
        return in_torch(prefix, compute, EAGER[name])
    try:
        extract = _build(name, prefix, compute, input_shape)
        extract(_example(input_shape))
    except Exception as error:
        raise UsageError(
            found=f"execution.engine is {name}, which cannot run this backbone: {error}",
            expected="a backbone made of operations that the engine knows.",
            fix="set execution.engine to eager, or leave it at auto.",
        ) from error
    return extract


def _build(name: str, prefix: nn.Module, compute: Compute, input_shape: tuple[int, ...]) -> Extract:
    if name == "compiled":
        return in_torch(torch.compile(prefix), compute, compute.precision)
    model = _to_onnx(prefix, input_shape)
    if name == "onnxruntime":
        return _by_onnxruntime(model)
    return _by_openvino(model, "f32" if name == "openvino" else "bf16")


def in_torch(prefix: Callable[[Tensor], Tensor], compute: Compute, precision: str = "float32") -> Extract:
    """Let PyTorch run `prefix` as it is, in the mode and with the weights it then has.

    Args:
        precision: of products. That of `compute` is for training: it was tried on the blocks that train alone.
    """
    asked = replace(compute, precision=precision)

    def extract(images: Tensor) -> Tensor:
        with torch.inference_mode(), asked.autocast():
            return prefix(asked.move(images)).float().cpu()

    return extract


def _by_onnxruntime(model: bytes) -> Extract:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at import; else it reports to its maker
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads would slow decoding
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def extract(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"images": images.float().numpy()})[0])

    return extract


@cache
def openvino_core() -> openvino.Core:
    """Return the one OpenVINO of this process: some of its builds crash where a second one is asked something.

    Source: https://github.com/openvinotoolkit/openvino/issues/35338.
    """
    import openvino

    return openvino.Core()


def _by_openvino(model: bytes, precision: str) -> Extract:
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = openvino_core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise RuntimeError("it multiplies in bfloat16 on processors with AVX-512 BF16 or AMX, and this has neither")
    compiled = core.compile_model(core.read_model(model), "CPU", settings)

    def extract(images: Tensor) -> Tensor:
        rows = images.float().numpy()
        parts = [compiled([rows[start : start + FEW_IMAGES]])[0] for start in range(0, len(rows), FEW_IMAGES)]
        return torch.cat([torch.from_numpy(part) for part in parts])

    return extract


def _to_onnx(prefix: nn.Module, input_shape: tuple[int, ...]) -> bytes:
    """Return `prefix` as an ONNX model of any batch size.

    The exporter by tracing took half a second for EfficientNet-Lite0 where its successor took sixteen (torch 2.15).
    """
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it announces its successor, and guesses at what a trace may miss
        torch.onnx.export(
            prefix,
            (_example(input_shape),),
            file,  # type: ignore[arg-type]  # a file-like object is taken by this exporter
            dynamo=False,
            input_names=["images"],
            output_names=["features"],
            dynamic_axes={"images": {0: "batch"}, "features": {0: "batch"}},
        )
    return file.getvalue()


def _example(input_shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(2, *input_shape)  # two, because a trace may take one for a constant


def _obstacle(name: str, device: str) -> UsageError | None:
    """Return why the engine cannot work here, if it cannot."""
    if name in EAGER:
        return None
    if name == "compiled":
        return None if _can_compile() else _missing(name, "install a C++ compiler, such as g++, and Python's headers")
    if device != "cpu":
        return UsageError(
            found=f"execution.engine is {name}, and the device is {device}.",
            expected="the device cpu, which is where this engine runs.",
            fix="set execution.engine to eager, or leave it at auto.",
        )
    module = name.partition("_")[0]
    if importlib.util.find_spec(module) is None:
        package = "fitwell[openvino]" if module == "openvino" else module
        return _missing(name, f'pip install "{package}"')
    return None


def _missing(name: str, cure: str) -> UsageError:
    return UsageError(
        found=f"execution.engine is {name}, which is not installed.",
        expected=f"what {name} needs, or an engine that is there: eager always is.",
        fix=f"{cure}.",
    )


def _can_compile() -> bool:
    compilers = ("g++", "clang++") if "CXX" not in os.environ else (os.environ["CXX"],)
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return header.is_file() and any(shutil.which(compiler) for compiler in compilers)
