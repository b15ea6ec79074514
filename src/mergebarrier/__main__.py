"""Run the command line as ``python -m mergebarrier``."""

import sys

from mergebarrier.cli import main

if __name__ == "__main__":
    sys.exit(main())
