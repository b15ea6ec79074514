"""``report``: read a finished report folder back, strictly, and show it in any form.

    result.json + rows.jsonl  ->  text | html | md | sarif | json

Every form is rendered again from the result, so edits of the page are not shown.
"""

import os
from pathlib import Path

from mergebarrier.api.audited import AuditReport
from mergebarrier.api.measure_backdoor import BackdoorReport
from mergebarrier.report import read_report
from mergebarrier.results import BackdoorResult


def report(folder: str | os.PathLike[str]) -> AuditReport | BackdoorReport:
    """Read a report that an audit or a measurement of a backdoor has finished.

    Args:
      folder: holds ``result.json`` and ``rows.jsonl``.
    Raises: BadReport naming the first thing in them that is wrong.
    """
    result, rows = read_report(Path(folder))
    if isinstance(result, BackdoorResult):
        return BackdoorReport(result=result, records=tuple(rows))
    return AuditReport(result=result, records=tuple(rows))
