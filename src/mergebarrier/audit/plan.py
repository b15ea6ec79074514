"""How much work an audit is, counted from its settings and the levels of its ladder, without doing any of it."""

from mergebarrier.audit.bench import AuditSpec, MergeSetting
from mergebarrier.audit.ladder import LEVELS, checked, shown_beside


def planned(spec: AuditSpec) -> dict[str, object]:
    """Return counts of merges, points and realignments; UsageError for a level that is not built."""
    numbers = checked(spec.levels)
    levels = [LEVELS[number] for number in numbers]
    beside = [level for level in shown_beside(spec) if level.number in numbers]
    # The unprotected model is compared with every state of the protected one, with the same settings and search.
    merged = 1 + len({level.state for level in levels})
    searched: dict[str, set[MergeSetting]] = {}
    for level in levels:
        if level.searches and 1 in numbers:
            for state in ("unprotected", level.state):
                searched.setdefault(state, set()).update(level.search(spec))
    lines = 2 + len({level.state for level in levels if level.prepare is not None})
    return {
        "levels": list(numbers),
        "settings": [setting.label for setting in spec.settings],
        "cells on test rows": merged * len(spec.settings),
        "cells on validation rows": sum(map(len, searched.values())),
        "searches part by part": sum(
            1 + len({level.state for level in levels if tuner in level.tuners})
            for tuner in dict.fromkeys(tuner for level in levels for tuner in level.tuners)
            if searched and tuner.budget(spec)
        ),
        "points of barrier curves": lines * spec.points,
        "realignments": sum(level.realignments(spec) for level in (*levels, *beside)),
    }
