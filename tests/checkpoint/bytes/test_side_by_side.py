"""Work on several threads leaves the caller with as many threads of arithmetic as before."""

from concurrent.futures import ThreadPoolExecutor

import torch

from mergebarrier.checkpoint.bytes.io import side_by_side


def test_what_computes_next_has_the_threads_of_the_caller() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert side_by_side(lambda _: torch.get_num_threads(), range(4), 2) == [1] * 4
        with ThreadPoolExecutor(1) as fresh:  # like the main thread of a command, it has not computed yet
            assert fresh.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)
