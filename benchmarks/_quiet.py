"""What a bench that runs stock classes sets first: one arithmetic thread, and no remark or bar of the library."""

import warnings

import torch

from mergebarrier.evaluate.base.load import stock_library


def one_quiet_thread() -> None:
    """Use one thread, and keep warnings, remarks and progress bars of the stock library off the terminal."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging = stock_library().utils.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
