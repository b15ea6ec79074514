"""The front door: a plain function per verb, over names of models, that returns a typed report.

Each file opens what it is given, calls the rooms below and says what came out; the command line parses, calls this and
prints.  ``import mergebarrier`` offers these functions.
"""

from mergebarrier import doors

__all__: list[str] = []

doors.open_lazily(__name__)
