"""A cache of the hub that a test fills itself, so that nothing is downloaded."""

import timm
import torch
from safetensors.torch import save_file

from fitwell.model.network import hub_repository


def fill_hub_cache(folder, monkeypatch, names):
    """Put new weights of the timm models `names` where the hub keeps what it fetched; return their files."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    files = {}
    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        repository = folder / f"models--{hub_repository(name).replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("0" * 40)
        files[name] = repository / "snapshots" / ("0" * 40) / "model.safetensors"
        files[name].parent.mkdir(parents=True)
        save_file(timm.create_model(name).state_dict(), files[name])
    return files
