"""Which dtype this machine computes in fastest: bfloat16 where the processor multiplies it, else float32.

Half as many bytes and, on a processor with AVX512-BF16 or AMX, half the time; on one without, several times the time of
float32, because every product is emulated.  What processors promise and what the kernels in use keep are two things
(``ONEDNN_MAX_CPU_ISA=AVX2`` forbids the fast ones), so the product that models spend their time in is timed, once.

    bfloat16   iff   min time(bfloat16 linear) < min time(float32 linear),   64 rows times 1536 x 576 weights

The answer is kept per processor, version of torch and limits on instructions, in this process and in the cache folder;
a cache that cannot be written costs a tenth of a second next time.  Source: ours.
"""

import functools
import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch
import torch.nn.functional as F

from mergebarrier.cache import cache_folder
from mergebarrier.checkpoint.bytes import FLOAT_NAMES
from mergebarrier.errors import UsageError

Device = Literal["cpu", "cuda"]
AUTO: Final = "auto"
#: Limits on the instructions that kernels may use, set by users and read by oneDNN and by torch.
LIMITS: Final = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
_ROWS, _INPUTS, _OUTPUTS, _REPEATS = 64, 576, 1536, 7


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What was measured.

    Args:
      ratio: time of a bfloat16 product over that of the same product in float32.
    """

    ratio: float

    @property
    def dtype(self) -> str:
        """Return the faster of the two."""
        return "bfloat16" if self.ratio < 1.0 else "float32"


def compute_dtype(asked: str = AUTO, device: Device = "cpu") -> str:
    """Return the dtype to run models in.

    Args:
      asked:  "auto", or a dtype, which is returned as it is.
      device: where models run.
    Returns: "bfloat16" or "float32" for "auto".
    Raises:  UsageError for what is no dtype.
    """
    if asked != AUTO:
        if asked not in FLOAT_NAMES:
            known = ", ".join((AUTO, *FLOAT_NAMES))
            raise UsageError(f"{asked!r} is not a dtype that models run in", where="--dtype", remedy=f"give {known}")
        return asked
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return processor_speed().dtype


def processor_speed() -> Speed:
    """Return what this processor was measured to do, now or before."""
    return _speed(_identity(), cache_folder())


@functools.cache
def _speed(identity: str, cache: Path) -> Speed:
    place = cache / "compute-dtype" / f"{identity}.json"
    speed = _kept(place)
    if speed is None:
        speed = _measured()
        _keep(place, speed)
    return speed


def _identity() -> str:
    """Name this kind of processor, torch, and what the environment forbids them, in 16 hexadecimal digits."""
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    described = {
        "machine": [platform.machine(), platform.processor(), torch.backends.cpu.get_cpu_capability()],
        "capabilities": {name: str(value) for name, value in capabilities.items()},
        "torch": torch.__version__,
        "limits": {name: os.environ.get(name) for name in LIMITS},
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def _measured() -> Speed:
    """Time both products in turn; the least of several is what the processor can do, whatever else runs on it."""
    best = {}
    operands = {}
    for dtype in (torch.float32, torch.bfloat16):
        operands[dtype] = torch.full((_ROWS, _INPUTS), 0.5, dtype=dtype), torch.ones(_OUTPUTS, _INPUTS, dtype=dtype)
        best[dtype] = float("inf")
    with torch.inference_mode():
        for _ in range(_REPEATS):
            for dtype, (rows, weight) in operands.items():
                started = time.perf_counter()
                F.linear(rows, weight)
                best[dtype] = min(best[dtype], time.perf_counter() - started)
    return Speed(ratio=round(best[torch.bfloat16] / best[torch.float32], 3))


def _kept(place: Path) -> Speed | None:
    try:
        ratio = json.loads(place.read_bytes())["bfloat16_over_float32"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return Speed(ratio=ratio) if isinstance(ratio, float) and ratio > 0 else None


def _keep(place: Path, speed: Speed) -> None:
    """Write a file that is whole whenever it is seen; where nothing can be written, nothing is kept."""
    making = place.with_name(f".{place.name}.{os.getpid()}")
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            making.write_text(json.dumps({"bfloat16_over_float32": speed.ratio}))
            making.rename(place)
        finally:
            making.unlink(missing_ok=True)
