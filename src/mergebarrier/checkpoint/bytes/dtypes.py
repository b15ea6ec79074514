"""The dtypes of the safetensors format: their width, and how torch names the ones that we handle.

A grammar must know every legal dtype to check sizes; the algorithms handle floats, integers and masks travel verbatim,
and anything that only quantised checkpoints use is refused by name.

    payload bytes of a tensor = prod(shape) * bits / 8

Source: safetensors 0.8.0, ``Dtype``.  Differs: sub-byte and 8-bit floats and complex numbers are known and refused.
"""

import torch

BITS: dict[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E5M2": 8, "F8_E4M3": 8,
    "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
}  # fmt: skip

TORCH: dict[str, torch.dtype] = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "U16": torch.uint16, "I16": torch.int16,
    "F16": torch.float16, "BF16": torch.bfloat16, "U32": torch.uint32, "I32": torch.int32, "F32": torch.float32,
    "U64": torch.uint64, "I64": torch.int64, "F64": torch.float64,
}  # fmt: skip

FLOATS = frozenset({"F64", "F32", "F16", "BF16"})

#: The name in a file of what torch holds.
STORED: dict[torch.dtype, str] = {dtype: name for name, dtype in TORCH.items()}

#: The floats as torch, configurations and people spell them -> their name in a file.
FLOAT_NAMES: dict[str, str] = {"bfloat16": "BF16", "float16": "F16", "float32": "F32", "float64": "F64"}

#: Largest relative error of one rounding to nearest.
ROUNDOFF: dict[str, float] = {"F64": 2.0**-53, "F32": 2.0**-24, "BF16": 2.0**-8, "F16": 2.0**-11}


def itemsize(dtype: str) -> int:
    """Bytes per element of a dtype that ``TORCH`` holds."""
    return BITS[dtype] // 8
