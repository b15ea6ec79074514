"""mergebarrier: protect open-weight models against unwanted merging, merge them, and audit both honestly.

The command line is the contract (``mergebarrier --help``); each room below this package is one idea.  Importing the
package is light on purpose: nothing here imports torch.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
