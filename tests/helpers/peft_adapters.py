"""Random adapters made by peft on tiny random bases, and what peft itself makes of them."""

import contextlib
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch

from tiny_models import build


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """peft remarks on deprecations of its own, on density 1 and on layouts that it corrects by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def adapted(
    base: str, seed: int = 0, *, dtype: torch.dtype = torch.float32, kind: str = "LoraConfig", **config: Any
) -> Any:
    """The base with a random adapter on it: neither factor is zero, whole tensors are moved."""
    import peft

    module = build(base).to(dtype)
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(1000 + seed)
        model = peft.get_peft_model(module, getattr(peft, kind)(**config))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter += 0.1 * torch.randn(parameter.shape).to(parameter.dtype)
    return model


def save_adapter(folder: Path, base: str, seed: int = 0, **config: Any) -> Path:
    """Write a random adapter with peft."""
    with quiet():
        adapted(base, seed, **config).save_pretrained(folder)
    return folder


def loaded(base: str, folder: Path, *, dtype: torch.dtype = torch.float32) -> Any:
    """The base with an adapter that peft loads from a folder."""
    import peft

    with quiet():
        return peft.PeftModel.from_pretrained(build(base).to(dtype), folder)


def merged_by_peft(base: str, folder: Path, *, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """What peft's merge_and_unload makes of it."""
    with quiet():
        module = loaded(base, folder, dtype=dtype).merge_and_unload()
    return dict(module.state_dict())


@cache
def tokens() -> torch.Tensor:
    return torch.randint(0, 96, (2, 24), generator=torch.Generator().manual_seed(5))


def logits_of(module: Any) -> torch.Tensor:
    with torch.no_grad():
        return module.eval()(input_ids=tokens()).logits


def adapted_twice(base: str, one: Path, other: Path, weights: Any, form: str, **how: Any) -> Any:
    """The base with two adapters, merged by peft into a third, which is active."""
    model = loaded(base, one)
    with quiet():
        model.load_adapter(other, "other")
        model.add_weighted_adapter(["default", "other"], list(weights), "merged", combination_type=form, **how)
        model.set_adapter("merged")
    return model


def updates_of(model: Any) -> dict[str, torch.Tensor]:
    """Module -> the update (out, in) of the active adapter, in float64."""
    found = {}
    for name, part in model.base_model.model.named_modules():
        if hasattr(part, "lora_A") and part.active_adapters[0] in part.lora_A:
            active = part.active_adapters[0]
            b, a = (half[active].weight.detach().double() for half in (part.lora_B, part.lora_A))
            found[name] = part.scaling[active] * (b @ a)
    return found
