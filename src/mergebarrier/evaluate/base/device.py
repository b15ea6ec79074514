"""Where models run: the processor, or one graphics processor by its number.

cpu | cuda | cuda:N | auto          auto is the first graphics processor, where torch sees one
"""

import re
from typing import Final

import torch

from mergebarrier.errors import NoDevice, UsageError

CPU: Final = "cpu"


def device_named(asked: str = CPU) -> str:
    """Return the device that a name means, as torch writes it: "cpu" or "cuda:0".

    Raises: UsageError for another name; NoDevice where there is no such device.
    """
    known = re.fullmatch(r"(auto|cpu)|cuda(?::(\d{1,3}))?", asked, re.ASCII)
    if known is None:
        raise UsageError(f"{asked!r} is not a device", where="--device", remedy="give auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count()
    if asked == CPU or (asked == "auto" and not count):
        return CPU
    number = int(known[2] or 0)
    if number >= count:
        seen = f"{count} of them" if count else "none"
        other = (
            f"a number below {count}" if count else "--device cpu, or install a torch that is built for this machine"
        )
        raise NoDevice(
            f"there is no graphics processor {number}; torch {torch.__version__} sees {seen}",
            where=f"--device {asked}",
            remedy=f"give {other}",
        )
    return f"cuda:{number}"


def device_for(asked: str, *, processor: str = "") -> str:
    """Return the device of work, or the processor where there is a reason, in a few words, why it is done there.

    Raises: as ``device_named``; UsageError where a graphics processor is asked for by name all the same.
    """
    place = device_named(asked)
    if processor and place != CPU and asked != "auto":
        raise UsageError(processor, where=f"--device {asked}", remedy="leave --device out")
    return CPU if processor else place
