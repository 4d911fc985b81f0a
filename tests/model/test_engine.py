import os
import subprocess
import sys
import warnings

import openvino
import pytest
import torch
from torch import nn

from fitwell.errors import UsageError
from fitwell.model.compute import Compute
from fitwell.model.engine import ENGINES, available_engines, build_engine, openvino_core
from fitwell.model.network import build_network, create_backbone
from fitwell.recipe.schema import Head

CPU = Compute()
WITHOUT_COMPILING = ("eager", "onnxruntime", "openvino")


def chain(backbone, boundary):
    torch.manual_seed(0)
    return build_network(create_backbone(backbone), 2, Head(dropout=0.0)).eval().prefix(boundary)


def pictures(count, size=32):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("name", WITHOUT_COMPILING)
@pytest.mark.parametrize(
    ("backbone", "boundary", "shape"),
    [
        ("test_efficientnet", 3, (16, 16, 16)),
        ("test_efficientnet", 100, (256,)),
        ("resnet18", 7, (128, 4, 4)),
        ("mobilenetv3_small_050", 1, (1024,)),
        ("test_vit", 1, (64,)),
    ],
)
def test_every_engine_gives_the_features_of_the_blocks_for_any_batch_size(name, backbone, boundary, shape):
    size = 160 if backbone == "test_vit" else 32
    prefix = chain(backbone, boundary)
    extract = build_engine(name, prefix, CPU, (3, size, size))
    for count in (1, 2, 5):
        images = pictures(count, size)
        with torch.inference_mode():
            expected = prefix(images)
        features = extract(images)
        assert features.shape == (count, *shape)
        assert features.dtype == torch.float32
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_weights_and_images_in_channels_last_give_the_same_features(name):
    compute = Compute(memory_format="channels_last")
    prefix = chain("test_efficientnet", 4)
    plain = build_engine("eager", prefix, CPU, (3, 32, 32))(pictures(3))
    compute.move_module(prefix)
    features = build_engine(name, prefix, compute, (3, 32, 32))(compute.move(pictures(3)))
    torch.testing.assert_close(features, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", WITHOUT_COMPILING)
def test_the_blocks_stay_in_evaluation(name):
    prefix = chain("test_efficientnet", 4)
    assert prefix.training
    build_engine(name, prefix, CPU, (3, 32, 32))
    assert not any(module.training for module in prefix.modules())


@pytest.mark.parametrize("name", ["eager_bfloat16", "openvino_bfloat16"])
def test_products_in_bfloat16_are_near_those_in_float32(name):
    if "BF16" not in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") and name != "eager_bfloat16":
        pytest.skip("this processor has no bfloat16")
    images, prefix = pictures(2), chain("test_efficientnet", 4)
    plain = build_engine("eager", prefix, CPU, (3, 32, 32))(images)
    rounded = build_engine(name, prefix, CPU, (3, 32, 32))(images)
    assert rounded.dtype == torch.float32
    assert 1e-4 < float((rounded - plain).abs().max() / plain.abs().max()) < 0.05


def test_the_precision_of_training_is_not_that_of_frozen_blocks():
    images, prefix = pictures(2), chain("test_efficientnet", 4)
    plain = build_engine("eager", prefix, CPU, (3, 32, 32))(images)
    assert torch.equal(build_engine("eager", prefix, Compute(precision="bfloat16"), (3, 32, 32))(images), plain)


def test_openvino_takes_no_other_precision_where_the_processor_has_no_bfloat16(monkeypatch):
    monkeypatch.setattr(openvino.Core, "get_property", lambda self, device, name: ["FP32", "INT8"])
    with pytest.raises(UsageError, match="cannot run this backbone: it multiplies in bfloat16 on processors"):
        build_engine("openvino_bfloat16", chain("test_efficientnet", 4), CPU, (3, 32, 32))


@pytest.mark.slow  # the compiler takes most of a minute
def test_a_compiled_chain_gives_the_features_of_the_blocks():
    prefix = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten()).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        extract = build_engine("compiled", prefix, CPU, (3, 8, 8))
        for count in (3, 1):
            torch.testing.assert_close(extract(pictures(count, 8)), prefix(pictures(count, 8)).detach())


def test_onnxruntime_reports_nothing_to_its_maker(tmp_path):
    code = (
        "import torch, fitwell.model.engine as engine\n"
        "engine.build_engine('onnxruntime', torch.nn.Flatten(), engine.Compute(), (3, 8, 8))"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


class Unknown(nn.Module):
    def forward(self, images):
        return torch.linalg.eigvalsh(images)


def test_a_chain_that_an_engine_cannot_run_is_refused():
    with pytest.raises(UsageError, match=r"(?s)engine is onnxruntime, which cannot run this backbone: .*to eager"):
        build_engine("onnxruntime", Unknown(), CPU, (3, 8, 8))


def test_on_an_accelerator_only_pytorch_runs():
    assert set(available_engines("cuda:0")) <= {"eager", "eager_bfloat16", "compiled"}
    with pytest.raises(UsageError, match=r"engine is openvino, and the device is cuda:0"):
        build_engine("openvino", nn.Identity(), Compute("cuda:0"), (3, 8, 8))


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("onnxruntime", r'pip install "onnxruntime"'),
        ("openvino", r'pip install "fitwell\[openvino\]"'),
        ("openvino_bfloat16", r'pip install "fitwell\[openvino\]"'),
    ],
)
def test_a_missing_engine_names_the_command_that_installs_it(name, cure, monkeypatch):
    monkeypatch.setitem(sys.modules, name.partition("_")[0], None)
    assert name not in available_engines()
    with pytest.raises(UsageError, match=f"engine is {name}, which is not installed(?s:.*){cure}"):
        build_engine(name, nn.Identity(), CPU, (3, 8, 8))


def test_compiling_needs_a_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "compiled" not in available_engines()
    with pytest.raises(UsageError, match=r"engine is compiled, which is not installed(?s:.*)C\+\+ compiler"):
        build_engine("compiled", nn.Identity(), CPU, (3, 8, 8))


def test_engines_come_in_one_order_and_eager_is_always_there():
    found = available_engines()
    assert found[0] == "eager"
    assert list(found) == [name for name in ENGINES if name in found]
