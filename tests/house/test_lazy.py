"""A lazy library costs nothing until something is taken from it, and then is the library itself."""

import subprocess
import sys

_TWO_THREADS = """
import sys, threading
from mergebarrier.lazy import np, torch
assert not {"torch", "numpy"} & set(sys.modules)
together, sums = threading.Barrier(2), []
def add():
    together.wait()
    sums.append(float(torch.add(torch.ones(1), 1)))
threads = [threading.Thread(target=add) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert sums == [2.0, 2.0], sums
assert torch.Tensor is sys.modules["torch"].Tensor and np.int64 is sys.modules["numpy"].int64
"""


def test_a_lazy_library_is_imported_by_its_first_use_from_two_threads_at_once() -> None:
    ran = subprocess.run([sys.executable, "-c", _TWO_THREADS], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
