"""Hostile model folders, numbered as in the threat table of SECURITY.md: what is abused, and how it must be refused.

Each case builds one folder, names the class of the error, and words that the one line must hold (file, tensor, fault).
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
    BadConfig,
    BadDtype,
    BadHeader,
    BadIndex,
    LimitExceeded,
    MergebarrierError,
    NonFinite,
    NotACheckpoint,
    PickleRefused,
    RemoteCodeRefused,
    UnsafePath,
)
from model_folders import CONFIG, entries, pack, safetensors_bytes, small_tensors, thirds, write_folder, write_index

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Case:
    """``build(folder)`` makes the folder; reading a tensor is part of the attempt."""

    name: str
    error: type[MergebarrierError]
    says: tuple[str, ...]
    build: Callable[[Path], Any]


CASES: list[Case] = []


def case(error: type[MergebarrierError], *says: str) -> Callable[[Callable[[Path], Any]], Callable[[Path], Any]]:
    """Add the function below to the list, under its own name."""

    def add(build: Callable[[Path], Any]) -> Callable[[Path], Any]:
        CASES.append(Case(build.__name__, error, says, build))
        return build

    return add


def sound(path: Path, **more: Any) -> Path:
    return write_folder(path, small_tensors(), **more)


def sharded(path: Path) -> dict[str, str]:
    tensors = small_tensors()
    write_folder(path, tensors, shards=thirds(tensors))
    weight_map: dict[str, str] = json.loads((path / INDEX).read_text())["weight_map"]
    return weight_map


def with_weights(path: Path, data: bytes) -> None:
    sound(path)
    (path / WEIGHTS).write_bytes(data)


def with_header(path: Path, change: Callable[[dict[str, Any]], Any], extra: bytes = b"") -> None:
    header, data = entries({"a": torch.ones(2, 2), "b": torch.ones(3)})
    changed = change(header)
    with_weights(path, pack(header if changed is None else changed, data + extra))


def with_config(path: Path, **keys: Any) -> None:
    sound(path, config={**CONFIG, **keys})


# T1: the index reaches outside, or disagrees with the shards


@case(UnsafePath, INDEX, "model.norm.weight", "../other/model.safetensors")
def t01_1_index_points_to_a_sibling_folder(path: Path) -> None:
    weight_map = sharded(path)
    write_folder(path.parent / "other", small_tensors())
    write_index(path, weight_map | {"model.norm.weight": "../other/model.safetensors"})


@case(UnsafePath, INDEX, "/etc/passwd.safetensors")
def t01_1_index_names_an_absolute_path(path: Path) -> None:
    write_index(path, sharded(path) | {"model.norm.weight": "/etc/passwd.safetensors"})


@case(UnsafePath, INDEX, "sub/model.safetensors")
def t01_1_index_names_a_subfolder(path: Path) -> None:
    write_index(path, sharded(path) | {"model.norm.weight": "sub/model.safetensors"})


@case(UnsafePath, INDEX, r"..\\other")
def t01_1_index_uses_backslashes(path: Path) -> None:
    write_index(path, sharded(path) | {"model.norm.weight": "..\\other.safetensors"})


@case(UnsafePath, INDEX, ".hidden.safetensors")
def t01_1_index_names_a_hidden_file(path: Path) -> None:
    write_index(path, sharded(path) | {"model.norm.weight": ".hidden.safetensors"})


@case(UnsafePath, INDEX, r"model.safetensors\\n")
def t01_2_index_name_ends_in_a_newline(path: Path) -> None:
    write_index(path, sharded(path) | {"model.norm.weight": "model.safetensors\n"})


@case(UnsafePath, INDEX, "mödel")
def t01_2_index_name_is_not_ascii(path: Path) -> None:
    write_index(path, sharded(path) | {"model.norm.weight": "mödel.safetensors"})


@case(UnsafePath, INDEX, "pytorch_model.bin")
def t01_2_index_names_a_pickle(path: Path) -> None:
    write_index(path, sharded(path) | {"model.norm.weight": "pytorch_model.bin"})


@case(BadIndex, INDEX, "model.norm.weight", "not listed")
def t01_3_shard_holds_an_unlisted_tensor(path: Path) -> None:
    weight_map = sharded(path)
    del weight_map["model.norm.weight"]
    write_index(path, weight_map)


@case(BadIndex, INDEX, "ghost.weight", "not there")
def t01_3_index_lists_a_missing_tensor(path: Path) -> None:
    weight_map = sharded(path)
    write_index(path, weight_map | {"ghost.weight": weight_map["model.norm.weight"]})


@case(BadIndex, INDEX, "model.norm.weight", "model-00001-of-00003.safetensors")
def t01_3_index_lists_a_tensor_in_the_wrong_shard(path: Path) -> None:
    write_index(path, sharded(path) | {"model.norm.weight": "model-00001-of-00003.safetensors"})


@case(BadIndex, "model.embed_tokens.weight", "model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors")
def t01_3_one_tensor_in_two_shards_with_other_values(path: Path) -> None:
    sharded(path)
    others = {name: tensor + 1 for name, tensor in small_tensors().items()}
    (path / "model-00003-of-00003.safetensors").write_bytes(safetensors_bytes(others))


@case(NotACheckpoint, "model-00002-of-00003.safetensors", "missing")
def t01_3_a_listed_shard_is_missing(path: Path) -> None:
    sharded(path)
    (path / "model-00002-of-00003.safetensors").unlink()


@case(BadIndex, INDEX, "model.safetensors")
def t01_4_single_file_beside_an_index(path: Path) -> None:
    sharded(path)
    (path / WEIGHTS).write_bytes(safetensors_bytes(small_tensors()))


@case(BadIndex, INDEX, "weight_map")
def t01_5_index_is_a_list(path: Path) -> None:
    sharded(path)
    (path / INDEX).write_text("[]")


@case(BadIndex, INDEX, "twice", "a.weight")
def t01_5_index_lists_a_tensor_twice(path: Path) -> None:
    sharded(path)
    (path / INDEX).write_text('{"weight_map": {"a.weight": "x.safetensors", "a.\\u0077eight": "y.safetensors"}}')


@case(BadIndex, INDEX, "not a name")
def t01_5_index_shard_is_a_number(path: Path) -> None:
    write_index(path, sharded(path) | {"model.norm.weight": 7})


@case(LimitExceeded, INDEX, "deeper than 32")
def t01_6_index_depth_bomb(path: Path) -> None:
    sharded(path)
    (path / INDEX).write_text('{"weight_map":' + "[" * 4_000_000 + "]" * 4_000_000 + "}")


@case(LimitExceeded, INDEX, "values")
def t01_6_index_value_bomb(path: Path) -> None:
    sharded(path)
    (path / INDEX).write_text('{"metadata":[' + "1," * 8_000_000 + '1],"weight_map":{"a":"b.safetensors"}}')


@case(LimitExceeded, INDEX, "cap is 67108864")
def t01_6_index_size_bomb(path: Path) -> None:
    sharded(path)
    os.truncate(path / INDEX, 65 * 2**20)


# T2: pickles; adapters; folders that are no model


@case(PickleRefused, "pytorch_model.bin", "safetensors")
def t02_1_weights_are_a_pickle(path: Path) -> None:
    sound(path)
    (path / WEIGHTS).rename(path / "pytorch_model.bin")


@case(PickleRefused, "pytorch_model.bin.index.json")
def t02_1_weights_are_a_sharded_pickle(path: Path) -> None:
    sound(path)
    (path / WEIGHTS).unlink()
    (path / "pytorch_model.bin.index.json").write_text('{"weight_map": {}}')


@case(PickleRefused, "consolidated.00.pth")
def t02_1_weights_are_a_torch_checkpoint(path: Path) -> None:
    sound(path)
    (path / WEIGHTS).rename(path / "consolidated.00.pth")


@case(BadHeader, WEIGHTS)
def t02_2_a_pickle_with_the_name_of_safetensors(path: Path) -> None:
    with_weights(path, b"\x80\x04cos\nsystem\n(S'true'\ntR." + bytes(64))


@case(AdapterRefused, "adapter_", "merge")
def t02_3_an_adapter_in_place_of_a_model(path: Path) -> None:
    path.mkdir()
    (path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (path / "adapter_model.safetensors").write_bytes(safetensors_bytes({"a": torch.ones(2)}))


@case(AdapterRefused, "adapter_config.json")
def t02_3_an_adapter_beside_a_model(path: Path) -> None:
    sound(path)
    (path / "adapter_config.json").write_text("{}")


@case(NotACheckpoint, "no safetensors weights")
def t02_4_an_empty_folder(path: Path) -> None:
    path.mkdir()


@case(NotACheckpoint, "this is a file")
def t02_4_a_file_in_place_of_a_folder(path: Path) -> None:
    path.write_bytes(safetensors_bytes({"a": torch.ones(2)}))


@case(NotACheckpoint, "config.json", "missing")
def t02_4_a_folder_without_config(path: Path) -> None:
    sound(path)
    (path / "config.json").unlink()


@case(NotACheckpoint, "index")
def t02_4_a_lone_shard_without_an_index(path: Path) -> None:
    sharded(path)
    (path / INDEX).unlink()


@case(NotACheckpoint, "no tensor")
def t02_4_weights_without_a_tensor(path: Path) -> None:
    with_weights(path, pack({}))


# T3: remote code


@case(RemoteCodeRefused, "config.json", "auto_map")
def t03_1_config_names_code(path: Path) -> None:
    auto_map = {"AutoModelForCausalLM": "modeling_evil.EvilForCausalLM"}
    with_config(path, architectures=["EvilForCausalLM"], auto_map=auto_map)


@case(RemoteCodeRefused, "config.json", "auto_map")
def t03_1_config_names_code_in_a_nested_table(path: Path) -> None:
    with_config(path, text_config={"vision": [{"model_type": "evil", "auto_map": {"AutoModel": "x.Y"}}]})


@case(RemoteCodeRefused, "config.json", "auto_map")
def t03_1_config_hides_the_key_in_escapes(path: Path) -> None:
    sound(path)
    (path / "config.json").write_text('{"model_type": "llama", "\\u0061uto_map": {"AutoModel": "x.Y"}}')


@case(RemoteCodeRefused, "config.json", "trust_remote_code")
def t03_1_config_trusts_itself(path: Path) -> None:
    with_config(path, trust_remote_code=True)


@case(RemoteCodeRefused, "tokenizer_config.json", "auto_map")
def t03_1_tokenizer_config_names_code(path: Path) -> None:
    sound(path, side_files={"tokenizer_config.json": '{"auto_map": {"AutoTokenizer": ["x.Y", null]}}'})


@case(RemoteCodeRefused, "generation_config.json", "custom_generate")
def t03_1_generation_config_names_code(path: Path) -> None:
    sound(path, side_files={"generation_config.json": '{"custom_generate": "evil/repo"}'})


@case(RemoteCodeRefused, "config.json", "_attn_implementation_internal")
def t03_2_attention_fetches_a_kernel(path: Path) -> None:
    with_config(path, _attn_implementation_internal="evil/attention-kernel")


@case(RemoteCodeRefused, "config.json", "attn_implementation")
def t03_2_attention_of_a_part_fetches_a_kernel(path: Path) -> None:
    with_config(path, attn_implementation={"": "sdpa", "text_config": "kernels-community/x@main:f"})


@case(RemoteCodeRefused, "config.json", "mlp_kernel")
def t03_2_config_names_a_kernel(path: Path) -> None:
    with_config(path, mlp_kernel="evil/repo")


# T5: bombs


@case(LimitExceeded, WEIGHTS, "header")
def t05_1_header_above_the_cap(path: Path) -> None:
    with_weights(path, b"")
    with open(path / WEIGHTS, "r+b") as file:
        file.write((60 * 2**20).to_bytes(8, "little") + b"{")
        file.truncate(64 * 2**20)


@case(BadHeader, WEIGHTS, "18446744073709551615")
def t05_1_header_longer_than_any_file(path: Path) -> None:
    with_weights(path, pack({}, bytes(64), n=2**64 - 1))


@case(BadHeader, WEIGHTS)
def t05_1_header_longer_than_the_file(path: Path) -> None:
    with_weights(path, pack({}, bytes(64), n=67))


@case(BadHeader, WEIGHTS)
def t05_1_header_of_one_byte(path: Path) -> None:
    with_weights(path, pack(b"{}", n=1))


@case(BadHeader, WEIGHTS, "7 bytes")
def t05_1_file_shorter_than_a_length(path: Path) -> None:
    with_weights(path, bytes(7))


@case(LimitExceeded, WEIGHTS, "tensors")
def t05_2_too_many_empty_tensors(path: Path) -> None:
    one = '"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    with_weights(path, pack("{" + ",".join(one % i for i in range(250_000)) + "}"))


@case(LimitExceeded, WEIGHTS, "values")
def t05_2_metadata_of_millions_of_strings(path: Path) -> None:
    with_weights(path, pack('{"__metadata__":{' + ",".join(f'"{i:x}":""' for i in range(1_000_000)) + "}}"))


@case(LimitExceeded, WEIGHTS, "values")
def t05_2_metadata_of_a_million_strings_among_empty_tables(path: Path) -> None:
    padding = ",".join(["{}"] * 100_000)
    strings = ",".join(f'"{i:x}":""' for i in range(1_000_000))
    with_weights(path, pack('{"a":[' + padding + '],"__metadata__":{' + strings + "}}"))


@case(LimitExceeded, WEIGHTS, "values")
def t05_2_shape_of_millions_of_ones(path: Path) -> None:
    with_weights(path, pack('{"a":{"dtype":"U8","shape":[' + "1," * 7_000_000 + '1],"data_offsets":[0,1]}}', b"1"))


@case(LimitExceeded, WEIGHTS, "deeper than 4")
def t05_3_header_depth_bomb(path: Path) -> None:
    with_weights(path, pack('{"a":' + "[" * 1_000_000 + "}"))


@case(LimitExceeded, WEIGHTS, "deeper than 4")
def t05_3_header_five_levels(path: Path) -> None:
    with_weights(path, pack('{"a":{"dtype":"U8","shape":[[[1]]],"data_offsets":[0,1]}}', b"1"))


@case(BadHeader, WEIGHTS)
def t05_3_header_of_escaped_quotes(path: Path) -> None:
    with_weights(path, pack('{"' + '\\"' * 7_000_000 + "}"))


@case(LimitExceeded, WEIGHTS, "'a'", "rank 4000")
def t05_4_rank_bomb(path: Path) -> None:
    with_header(path, lambda h: {"a": {"dtype": "U8", "shape": [1] * 4000, "data_offsets": [0, 1]}})


@case(LimitExceeded, WEIGHTS, "'a'", "rank 2")
def t05_4_dimension_bomb(path: Path) -> None:
    with_header(path, lambda h: {"a": {"dtype": "U8", "shape": [0, 2**62], "data_offsets": [0, 0]}})


@case(BadHeader, WEIGHTS, "'a'")
def t05_4_size_overflows_64_bits(path: Path) -> None:
    with_header(path, lambda h: {"a": {"dtype": "F32", "shape": [2**31] * 3, "data_offsets": [0, 28]}})


@case(BadHeader, WEIGHTS, "digits")
def t05_4_number_of_a_million_digits(path: Path) -> None:
    with_weights(path, pack('{"a":{"dtype":"U8","shape":[' + "9" * 1_000_000 + '],"data_offsets":[0,1]}}', b"1"))


@case(LimitExceeded, "config.json", "cap is 4194304")
def t05_5_config_size_bomb(path: Path) -> None:
    sound(path)
    os.truncate(path / "config.json", 5 * 2**20)


@case(LimitExceeded, "config.json", "deeper than 32")
def t05_5_config_depth_bomb(path: Path) -> None:
    sound(path)
    (path / "config.json").write_text("[" * 2_000_000)


@case(LimitExceeded, "tokenizer.json", "cap is")
def t05_5_side_file_size_bomb(path: Path) -> None:
    sound(path, side_files={"tokenizer.json": "{}"})
    os.truncate(path / "tokenizer.json", 65 * 2**20)


# T6: two parsers, two readings


@case(BadHeader, WEIGHTS, "'a'", "twice")
def t06_1_duplicate_tensor(path: Path) -> None:
    one = '"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
    with_weights(path, pack("{" + one + "," + one + "}", b"1"))


@case(BadHeader, WEIGHTS, "'a'", "twice")
def t06_1_duplicate_tensor_behind_an_escape(path: Path) -> None:
    one = '{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
    with_weights(path, pack('{"a":' + one + ',"\\u0061":' + one + "}", b"1"))


@case(BadHeader, WEIGHTS, "'shape'", "twice")
def t06_1_duplicate_field(path: Path) -> None:
    with_weights(path, pack('{"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}}', b"1"))


@case(BadHeader, WEIGHTS, "'a'", "exactly")
def t06_2_unknown_field(path: Path) -> None:
    with_header(path, lambda h: h["a"].update(extra=1))


@case(BadHeader, WEIGHTS, "0x20")
def t06_3_blanks_before_the_brace(path: Path) -> None:
    with_weights(path, pack(' {"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"))


@case(BadHeader, WEIGHTS)
def t06_3_newline_after_the_brace(path: Path) -> None:
    with_weights(path, pack('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}\n', b"1"))


@case(BadHeader, WEIGHTS, "0xef")
def t06_3_byte_order_mark(path: Path) -> None:
    with_weights(path, pack(b'\xef\xbb\xbf{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"))


@case(BadHeader, WEIGHTS, "UTF-8")
def t06_3_bytes_that_are_not_utf8(path: Path) -> None:
    with_weights(path, pack(b'{"__metadata__":{"a":"\xff\xfe"}}'))


@case(BadHeader, WEIGHTS, "surrogate")
def t06_3_half_a_surrogate_pair(path: Path) -> None:
    with_weights(path, pack('{"__metadata__":{"a":"\\ud800"}}'))


@case(BadHeader, WEIGHTS, "'b'", "overlaps")
def t06_4_overlapping_tensors(path: Path) -> None:
    with_header(path, lambda h: h["b"].update(data_offsets=[12, 24]))


@case(BadHeader, WEIGHTS, "'b'", "hole")
def t06_4_hole_between_tensors(path: Path) -> None:
    with_header(path, lambda h: h["b"].update(data_offsets=[20, 32]), bytes(4))


@case(BadHeader, WEIGHTS, "28", "32")
def t06_4_bytes_after_the_last_tensor(path: Path) -> None:
    with_header(path, lambda h: None, bytes(4))


@case(BadHeader, WEIGHTS, "28", "24")
def t06_4_truncated_payload(path: Path) -> None:
    with_header(path, lambda h: None)
    os.truncate(path / WEIGHTS, (path / WEIGHTS).stat().st_size - 4)


@case(BadHeader, WEIGHTS, "'b'", "12", "9")
def t06_4_shape_and_offsets_disagree(path: Path) -> None:
    with_header(path, lambda h: h["b"].update(data_offsets=[16, 25]), b"")


@case(BadHeader, WEIGHTS, "'b'")
def t06_4_offsets_run_backwards(path: Path) -> None:
    with_header(path, lambda h: h["b"].update(data_offsets=[28, 16]))


@case(BadHeader, WEIGHTS, "-4")
def t06_5_negative_offset(path: Path) -> None:
    with_header(path, lambda h: h["a"].update(data_offsets=[-4, 12]))


@case(BadHeader, WEIGHTS, "2.0")
def t06_5_float_in_a_shape(path: Path) -> None:
    with_header(path, lambda h: h["a"].update(shape=[2.0, 2]))


@case(BadHeader, WEIGHTS, "'a'")
def t06_5_true_in_a_shape(path: Path) -> None:
    with_header(path, lambda h: h["a"].update(shape=[True, 4]))


@case(BadHeader, WEIGHTS, "NaN")
def t06_5_nan_in_a_shape(path: Path) -> None:
    with_header(path, lambda h: h["a"].update(shape=[float("nan")]))


@case(BadHeader, WEIGHTS, "metadata")
def t06_6_metadata_that_is_no_string(path: Path) -> None:
    with_header(path, lambda h: {"__metadata__": {"format": 1}, **h})


@case(BadHeader, WEIGHTS, "'tf'")
def t06_6_weights_of_another_framework(path: Path) -> None:
    with_header(path, lambda h: {"__metadata__": {"format": "tf"}, **h})


@case(BadConfig, "config.json", "'model_type'", "twice")
def t06_7_config_with_a_duplicate_key(path: Path) -> None:
    sound(path)
    (path / "config.json").write_text('{"model_type": "llama", "model_type": "gpt2"}')


@case(BadConfig, "config.json")
def t06_7_config_is_not_json(path: Path) -> None:
    sound(path)
    (path / "config.json").write_text("{'model_type': 'llama'}")


@case(BadConfig, "config.json", "table")
def t06_7_config_is_a_list(path: Path) -> None:
    sound(path)
    (path / "config.json").write_text("[]")


@case(BadConfig, "config.json", "NaN")
def t06_7_config_with_nan(path: Path) -> None:
    sound(path)
    (path / "config.json").write_text('{"rope_theta": NaN}')


# T7: names


@case(BadHeader, WEIGHTS, "../../etc/passwd")
def t07_1_tensor_named_like_a_path(path: Path) -> None:
    with_header(path, lambda h: {"../../etc/passwd": h["a"], "b": h["b"]})


@case(BadHeader, WEIGHTS, "tensor ''")
def t07_1_tensor_without_a_name(path: Path) -> None:
    with_header(path, lambda h: {"": h["a"], "b": h["b"]})


@case(BadHeader, WEIGHTS, r"\\x1b[31m")
def t07_1_tensor_name_with_terminal_escapes(path: Path) -> None:
    with_header(path, lambda h: {"\x1b[31mred\x1b[0m\u202e": h["a"], "b": h["b"]})


@case(BadHeader, WEIGHTS, "aaa")
def t07_1_tensor_name_too_long(path: Path) -> None:
    with_header(path, lambda h: {"a" * 513: h["a"], "b": h["b"]})


@case(BadHeader, WEIGHTS, r"norm\\n")
def t07_1_tensor_name_ends_in_a_newline(path: Path) -> None:
    with_header(path, lambda h: {"norm\n": h["a"], "b": h["b"]})


# T8: values


def with_value(path: Path, value: float, dtype: torch.dtype) -> None:
    tensors = small_tensors(dtype=dtype)
    tensors["model.layers.1.mlp.up_proj.weight"][7, 3] = value
    write_folder(path, tensors)


@case(NonFinite, WEIGHTS, "model.layers.1.mlp.up_proj.weight", "NaN")
def t08_1_nan_in_bf16(path: Path) -> None:
    with_value(path, float("nan"), torch.bfloat16)


@case(NonFinite, WEIGHTS, "model.layers.1.mlp.up_proj.weight")
def t08_1_infinity_in_f16(path: Path) -> None:
    with_value(path, float("inf"), torch.float16)


@case(NonFinite, WEIGHTS, "model.layers.1.mlp.up_proj.weight")
def t08_1_minus_infinity_in_f32(path: Path) -> None:
    with_value(path, float("-inf"), torch.float32)


@case(NonFinite, WEIGHTS, "model.layers.1.mlp.up_proj.weight")
def t08_1_nan_in_f64(path: Path) -> None:
    with_value(path, float("nan"), torch.float64)


# T9: dtypes


@case(BadDtype, WEIGHTS, "'a'", "F99")
def t09_1_unknown_dtype(path: Path) -> None:
    with_header(path, lambda h: h["a"].update(dtype="F99"))


@case(BadDtype, WEIGHTS, "'a'", "F8_E4M3")
def t09_2_eight_bit_floats(path: Path) -> None:
    with_weights(path, pack({"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}, bytes(4)))


@case(BadDtype, WEIGHTS, "'q.weight'", "I8")
def t09_2_integers_in_place_of_weights(path: Path) -> None:
    with_weights(path, pack({"q.weight": {"dtype": "I8", "shape": [4], "data_offsets": [0, 4]}}, bytes(4)))


@case(BadDtype, WEIGHTS, "'q.weight_scale_inv'")
def t09_2_scales_beside_weights(path: Path) -> None:
    with_weights(path, safetensors_bytes({"q.weight_scale_inv": torch.ones(2)}))


@case(BadDtype, "config.json", "quantization_config", "left over", "remove")
def t09_2_quantised_by_config(path: Path) -> None:
    with_config(path, quantization_config={"quant_method": "gptq"})


@case(BadDtype, WEIGHTS, "'mask'", "7")
def t09_3_a_bool_that_is_seven(path: Path) -> None:
    with_weights(path, pack({"mask": {"dtype": "BOOL", "shape": [2], "data_offsets": [0, 2]}}, b"\x00\x07"))


@case(BadHeader, WEIGHTS, "'q.weight'", "empty", "ZeRO-3", "gather")
def t09_4_a_shard_that_was_not_gathered(path: Path) -> None:
    with_weights(path, safetensors_bytes({"q.weight": torch.empty(0), "up.weight": torch.ones(2)}))


# T11: links, devices


@case(UnsafePath, WEIGHTS, "link")
def t11_1_weights_are_a_link_out_of_the_folder(path: Path) -> None:
    sound(path)
    (path / WEIGHTS).rename(path.parent / "outside.safetensors")
    (path / WEIGHTS).symlink_to("../outside.safetensors")


@case(UnsafePath, "config.json", "link")
def t11_1_config_is_a_link_out_of_the_folder(path: Path) -> None:
    sound(path)
    (path / "config.json").rename(path.parent / "config.json")
    (path / "config.json").symlink_to("../config.json")


@case(UnsafePath, "tokenizer.json", "link")
def t11_1_side_file_is_a_link_to_a_secret(path: Path) -> None:
    sound(path)
    (path / "tokenizer.json").symlink_to("/etc/hostname")


@case(UnsafePath, WEIGHTS, "broken link")
def t11_1_weights_are_a_dangling_link(path: Path) -> None:
    sound(path)
    (path / WEIGHTS).unlink()
    (path / WEIGHTS).symlink_to("gone")


@case(UnsafePath, WEIGHTS, "link")
def t11_1_cache_link_into_the_blobs_of_another_repository(path: Path) -> None:
    blobs = path.parent / "models--other" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "abc").write_bytes(safetensors_bytes(small_tensors()))
    snapshot = path.parent / "models--mine" / "snapshots" / "rev"
    sound(snapshot)
    (snapshot / WEIGHTS).unlink()
    (snapshot / WEIGHTS).symlink_to("../../../models--other/blobs/abc")
    path.symlink_to(snapshot)


@case(UnsafePath, WEIGHTS, "regular")
def t11_2_weights_are_a_fifo(path: Path) -> None:
    sound(path)
    (path / WEIGHTS).unlink()
    os.mkfifo(path / WEIGHTS)


@case(UnsafePath, "config.json", "regular")
def t11_2_config_is_a_fifo(path: Path) -> None:
    sound(path)
    (path / "config.json").unlink()
    os.mkfifo(path / "config.json")


@case(UnsafePath, WEIGHTS, "regular")
def t11_2_weights_are_a_folder(path: Path) -> None:
    sound(path)
    (path / WEIGHTS).unlink()
    (path / WEIGHTS).mkdir()


@case(UnsafePath, "tokenizer.json")
def t11_2_side_file_links_to_a_device(path: Path) -> None:
    sound(path)
    (path / "tokenizer.json").symlink_to("/dev/zero")
