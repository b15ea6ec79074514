"""The process that looks into pickles: picklescan lists what each would import, under limits of memory and time.

    python -P pickle_worker.py FD:KIND ...   ->   one line of JSON per file: {"globals": [[module, name, safety], ..]}

It runs apart because a pickle from a stranger may name lengths that no machine has; nothing in it is ever loaded.  A
file without a line was not looked at.

Source: picklescan 1.0 (``scan_pickle_bytes``, ``scan_zip_bytes``, ``scan_numpy``), MIT.
"""

import json
import os
import pickletools
import resource
import sys
from collections import deque

MEMORY_BYTES = 1 << 30
CPU_S = 10


def main(files: list[str]) -> None:
    """Look into every file and print a line about each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    from picklescan import scanner

    looks = {"zip": scanner.scan_zip_bytes, "numpy": scanner.scan_numpy}
    for word in files:
        descriptor, _, kind = word.partition(":")
        found: dict[str, object] = {"globals": [], "error": ""}
        try:
            with os.fdopen(int(descriptor), "rb") as data:
                seen = looks.get(kind, scanner.scan_pickle_bytes)(data, "file")
                found["globals"] = sorted([one.module, one.name, one.safety.value] for one in seen.globals)
                if kind == "pickle" and not seen.globals:  # picklescan takes what it cannot parse for harmless
                    data.seek(0)
                    deque(pickletools.genops(data), maxlen=0)
        except Exception as fault:  # whatever a stranger's file does to the library, the next file is looked at
            found["error"] = f"{type(fault).__name__}: {fault}"[:200]
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
