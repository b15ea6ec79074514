"""Hostile adapter folders: what is abused, and how it must be refused.

Each case starts from a sound adapter of the tiny Llama and changes one thing; it names the class of the error and words
that the one line must hold.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mergebarrier.errors import (
    AdapterRefused,
    BadAdapter,
    BadConfig,
    BadDtype,
    BadHeader,
    LimitExceeded,
    MergebarrierError,
    NonFinite,
    PickleRefused,
    RemoteCodeRefused,
    UnsafePath,
)
from model_folders import entries, pack, safetensors_bytes

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
UP = "base_model.model.model.layers.0.mlp.up_proj."
SOUND: dict[str, Any] = {
    "peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "up_proj"], "bias": "none",
    "base_model_name_or_path": "tiny", "modules_to_save": None, "use_rslora": False, "future_switch": None,
}  # fmt: skip


@dataclass(frozen=True)
class AdapterCase:
    """``build(folder)`` makes the folder; putting it on the base and reading a tensor is part of the attempt."""

    name: str
    error: type[MergebarrierError]
    says: tuple[str, ...]
    build: Callable[[Path], Any]


CASES: list[AdapterCase] = []


def case(error: type[MergebarrierError], *says: str) -> Callable[[Callable[[Path], Any]], Callable[[Path], Any]]:
    """Add the function below to the list, under its own name."""

    def add(build: Callable[[Path], Any]) -> Callable[[Path], Any]:
        CASES.append(AdapterCase(build.__name__, error, says, build))
        return build

    return add


def tensors() -> dict[str, torch.Tensor]:
    """Factors of rank 2 for two modules of ``llama-gqa-untied`` (hidden 48, 72 queries, 72 neurons)."""
    generator = torch.Generator().manual_seed(7)
    shapes = {"self_attn.q_proj": (72, 48), "mlp.up_proj": (72, 48)}
    found = {}
    for module, (rows, columns) in shapes.items():
        name = f"base_model.model.model.layers.0.{module}"
        found[f"{name}.lora_A.weight"] = 0.1 * torch.randn(2, columns, generator=generator)
        found[f"{name}.lora_B.weight"] = 0.1 * torch.randn(rows, 2, generator=generator)
    return found


def sound(path: Path, found: dict[str, torch.Tensor] | None = None, **config: Any) -> Path:
    """A sound adapter, unless the arguments say otherwise."""
    path.mkdir()
    (path / CONFIG).write_text(json.dumps(SOUND | config))
    (path / WEIGHTS).write_bytes(safetensors_bytes(tensors() if found is None else found))
    return path


def changed(path: Path, **replaced: torch.Tensor | None) -> None:
    """An adapter with other factors A, B of up_proj, or none."""
    found = tensors()
    for half, tensor in replaced.items():
        if tensor is None:
            del found[f"{UP}lora_{half}.weight"]
        else:
            found[f"{UP}lora_{half}.weight"] = tensor
    sound(path, found)


@case(PickleRefused, "adapter_model.bin", "pickle")
def weights_are_a_pickle(path: Path) -> None:
    (sound(path) / WEIGHTS).rename(path / "adapter_model.bin")


@case(BadHeader, WEIGHTS)
def a_pickle_with_the_name_of_safetensors(path: Path) -> None:
    (sound(path) / WEIGHTS).write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR." + bytes(64))


@case(BadAdapter, "adapter_model.safetensors is missing")
def the_weights_are_missing(path: Path) -> None:
    (sound(path) / WEIGHTS).unlink()


@case(BadAdapter, "whole model")
def a_model_beside_the_adapter(path: Path) -> None:
    (sound(path) / "model.safetensors").write_bytes(safetensors_bytes({"a": torch.ones(2)}))


@case(NonFinite, WEIGHTS, "up_proj.lora_B.weight")
def a_factor_holds_nan(path: Path) -> None:
    changed(path, B=torch.full((72, 2), float("nan")))


@case(NonFinite, WEIGHTS, "up_proj.lora_A.weight")
def a_factor_holds_infinity(path: Path) -> None:
    changed(path, A=torch.full((2, 48), float("inf")))


@case(NonFinite, "layers.0.mlp.up_proj.weight", "does not fit")
def an_update_overflows(path: Path) -> None:
    changed(path, A=torch.full((2, 48), 1e30), B=torch.full((72, 2), 1e30))


@case(BadAdapter, "rank 3", "gives this module 2", "up_proj.lora_A")
def factors_of_another_rank_than_stated(path: Path) -> None:
    changed(path, A=torch.ones(3, 48), B=torch.ones(72, 3))


@case(BadAdapter, "A has rank 2 and B has rank 5")
def factors_of_two_ranks(path: Path) -> None:
    changed(path, B=torch.ones(72, 5))


@case(BadAdapter, "other factor is missing", "up_proj.lora_A.weight")
def one_factor_is_missing(path: Path) -> None:
    changed(path, B=None)


@case(BadAdapter, "shape (2, 48, 1)", "neither a matrix's update nor a convolution's")
def a_factor_of_three_axes(path: Path) -> None:
    changed(path, A=torch.ones(2, 48, 1))


@case(BadAdapter, "(72, 40)", "(72, 48)", "up_proj")
def an_update_of_another_shape_than_the_base(path: Path) -> None:
    changed(path, A=torch.ones(2, 40))


@case(BadAdapter, "no model.layers.9.mlp.up_proj.weight")
def a_target_outside_of_the_base(path: Path) -> None:
    sound(path, {name.replace("layers.0", "layers.9"): tensor for name, tensor in tensors().items()})


@case(BadAdapter, "gizmo.weight")
def a_whole_tensor_outside_of_the_base(path: Path) -> None:
    sound(path, tensors() | {"base_model.model.gizmo.weight": torch.ones(3)})


@case(BadAdapter, "model.norm.weight", "(49,)", "(48,)")
def a_whole_tensor_of_another_shape(path: Path) -> None:
    sound(path, tensors() | {"base_model.model.model.norm.weight": torch.ones(49)}, modules_to_save=["norm"])


@case(BadAdapter, "empty", "ZeRO-3", "gather")
def a_factor_of_a_shard_that_was_not_gathered(path: Path) -> None:
    changed(path, A=torch.zeros(0), B=torch.zeros(0))


@case(AdapterRefused, "original_module")
def a_copy_of_a_module_that_is_not_saved_whole(path: Path) -> None:
    sound(path, tensors() | {"base_model.model.model.norm.original_module.weight": torch.ones(48)})


@case(BadAdapter, "not among target_modules", "up_proj")
def a_module_that_peft_would_leave_out(path: Path) -> None:
    sound(path, target_modules=["q_proj"])


@case(BadAdapter, "not among target_modules", "up_proj")
def a_module_that_peft_keeps_whole(path: Path) -> None:
    sound(path, modules_to_save=["mlp"])


@case(BadAdapter, "task_type is", "give a name")
def a_task_that_is_a_table(path: Path) -> None:
    sound(path, task_type={"x": 1})


@case(BadAdapter, "unknown name", "'model.layers.0.self_attn.q_proj.lora_A.weight'")
def a_tensor_outside_of_the_prefix(path: Path) -> None:
    sound(path, {name.removeprefix("base_model.model."): tensor for name, tensor in tensors().items()})


@case(BadAdapter, "up_proj", "updated twice")
def two_names_of_one_tensor(path: Path) -> None:
    bare = {name.replace("base_model.model.model.", "base_model.model.x."): t for name, t in tensors().items()}
    sound(path, tensors() | {name.replace(".x.", ".x.model."): tensor for name, tensor in bare.items()})


@case(BadAdapter, "lora_magnitude_vector", "use_dora is False")
def dora_that_says_it_is_none(path: Path) -> None:
    sound(path, tensors() | {f"{UP}lora_magnitude_vector": torch.ones(72)})


@case(BadAdapter, "shape (71,)", "72 rows")
def dora_of_another_length(path: Path) -> None:
    magnitudes = {f"{UP}lora_magnitude_vector": torch.ones(71)}
    sound(path, {name: t for name, t in tensors().items() if name.startswith(UP)} | magnitudes, use_dora=True)


@case(BadAdapter, "lora_magnitude_vector", "other factor")
def dora_of_no_factors(path: Path) -> None:
    sound(path, tensors() | {f"{UP.replace('up', 'down')}lora_magnitude_vector": torch.ones(48)})


@case(BadHeader, WEIGHTS, "letters, digits")
def a_tensor_name_is_a_path(path: Path) -> None:
    header, data = entries({"../../etc/passwd": torch.ones(2)})
    (sound(path) / WEIGHTS).write_bytes(pack(header, data))


@case(UnsafePath, WEIGHTS, "link")
def the_weights_are_a_link_to_elsewhere(path: Path) -> None:
    outside = path.parent / "outside.safetensors"
    (sound(path) / WEIGHTS).rename(outside)
    (path / WEIGHTS).symlink_to(outside)


@case(UnsafePath, CONFIG)
def the_configuration_is_a_fifo(path: Path) -> None:
    (sound(path) / CONFIG).unlink()
    os.mkfifo(path / CONFIG)


@case(BadHeader, WEIGHTS, "twice")
def a_tensor_stands_twice(path: Path) -> None:
    entry = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    (sound(path) / WEIGHTS).write_bytes(pack('{"a":' + entry + ',"\\u0061":' + entry + "}", bytes(4)))


@case(BadDtype, "up_proj.lora_A.weight", "I32")
def quantised_factors(path: Path) -> None:
    changed(path, A=torch.ones(2, 48, dtype=torch.int32))


@case(BadAdapter, "r is 1000000000", "65536")
def a_huge_rank(path: Path) -> None:
    sound(path, r=10**9)


@case(BadAdapter, "r is True")
def a_rank_that_is_no_number(path: Path) -> None:
    sound(path, r=True)


@case(BadAdapter, "lora_alpha is 1e+300")
def a_huge_scale(path: Path) -> None:
    sound(path, lora_alpha=1e300)


@case(BadConfig, CONFIG, "NaN is not JSON")
def a_scale_that_is_not_a_number(path: Path) -> None:
    sound(path, lora_alpha=float("nan"))


@case(BadConfig, CONFIG, "'r' appears twice")
def a_key_stands_twice(path: Path) -> None:
    (sound(path) / CONFIG).write_text('{"peft_type": "LORA", "r": 2, "\\u0072": 4, "target_modules": ["up_proj"]}')


@case(BadAdapter, "unknown key 'use_rsloar'", "did you mean 'use_rslora'")
def an_unknown_key(path: Path) -> None:
    sound(path, use_rsloar=True)


@case(AdapterRefused, "enable_lora", "parts of a joined projection")
def parts_of_a_joined_projection(path: Path) -> None:
    sound(path, enable_lora=[True, False, True])


@case(BadAdapter, "rank_pattern", "repetition inside of a repetition")
def a_pattern_that_runs_for_years(path: Path) -> None:
    sound(path, rank_pattern={"((a|aa)+)+b": 2})


@case(BadAdapter, "rank_pattern", "table")
def a_hundred_thousand_patterns(path: Path) -> None:
    sound(path, rank_pattern={f"module.{i}": 2 for i in range(100_000)})


@case(LimitExceeded, CONFIG, "deeper than 32")
def a_depth_bomb(path: Path) -> None:
    (sound(path) / CONFIG).write_text('{"peft_type":' + "[" * 1_000_000 + "]" * 1_000_000 + "}")


@case(RemoteCodeRefused, CONFIG, "auto_map")
def a_configuration_that_names_code(path: Path) -> None:
    sound(path, auto_map={"AutoModel": "evil.Model"})


@case(PickleRefused, "non_lora_trainables.bin", "beside the adapter")
def weights_beside_the_factors_in_a_pickle(path: Path) -> None:
    sound(path)
    (path / "non_lora_trainables.bin").write_bytes(b"\x80\x04N.")


@case(BadAdapter, "an adapter of mlx-lm", "mlx_lm.fuse")
def an_adapter_of_mlx(path: Path) -> None:
    sound(path)
    (path / "adapter_model.safetensors").rename(path / "adapters.safetensors")


@case(AdapterRefused, "'BOFT'", "peft")
def another_kind_of_adapter(path: Path) -> None:
    sound(path, peft_type="BOFT")


@case(AdapterRefused, "PREFIX_TUNING", "no weights of the base")
def keys_and_values_before_the_text(path: Path) -> None:
    sound(path, peft_type="PREFIX_TUNING")


@case(BadAdapter, "use_dora", "lacks its lora_magnitude_vector")
def dora_without_magnitudes(path: Path) -> None:
    sound(path, use_dora=True)


@case(AdapterRefused, "layer_replication")
def layers_that_are_repeated(path: Path) -> None:
    sound(path, layer_replication=[[0, 2], [1, 3]])


@case(AdapterRefused, "init_lora_weights", "'pissa_niter_4'")
def an_adapter_of_a_base_that_its_start_changed(path: Path) -> None:
    sound(path, init_lora_weights="pissa_niter_4")


@case(AdapterRefused, "megatron_config")
def a_configuration_that_names_a_module_to_import(path: Path) -> None:
    sound(path, megatron_config={"x": 1}, megatron_core="evil.module")
