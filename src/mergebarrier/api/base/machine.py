"""What a report says about a run: versions, kind of machine, threads, date; no names of machines, users or paths."""

import datetime

from mergebarrier.verbs import environment


def machine(threads: int) -> dict[str, str]:
    """Return it, as words."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {**{name: str(value) for name, value in environment().items()}, "threads": str(threads), "date": today}
