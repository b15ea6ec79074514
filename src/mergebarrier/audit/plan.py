"""How much work an audit is, counted from its settings and the levels of its ladder, without doing any of it."""

from mergebarrier.audit.bench import AuditSpec, searched
from mergebarrier.audit.ladder import LEVELS, checked, shown_beside


def planned(spec: AuditSpec) -> dict[str, object]:
    """Return counts of merges, points and realignments; UsageError for a level that is not built."""
    numbers = checked(spec.levels)
    levels = [LEVELS[number] for number in numbers]
    beside = [level for level in shown_beside(spec) if level.number in numbers]
    # The unprotected model is compared with every state of the protected one, with the same settings and search.
    merged = 1 + len({level.state for level in levels})
    searching = 1 + len({level.state for level in levels if level.searches})
    search = len(searched(spec.search_budget)) if 1 in numbers else 0
    lines = 2 + len({level.state for level in levels if level.prepare is not None})
    return {
        "levels": list(numbers),
        "settings": [setting.label for setting in spec.settings],
        "cells on test rows": merged * len(spec.settings),
        "cells on validation rows": searching * search,
        "searches part by part": sum(
            1 + len({level.state for level in levels if tuner in level.tuners})
            for tuner in dict.fromkeys(tuner for level in levels for tuner in level.tuners)
            if search and tuner.budget(spec)
        ),
        "points of barrier curves": lines * spec.points,
        "realignments": sum(level.realignments(spec) for level in (*levels, *beside)),
    }
