"""A row of the workbench is called what this audit asks first, whoever measured it and under what name."""

from contextlib import ExitStack

from audit_stage import spec
from mergebarrier.audit.bench import Bench
from mergebarrier.audit.ladder import states
from mergebarrier.report import Journal


def test_a_row_that_a_worker_met_under_another_name_is_renamed_and_not_measured_again(stage, tmp_path) -> None:
    journal, found = Journal.open(tmp_path / "report"), []
    for asked in (("gaugefix", "aga"), ("original", "gaugefix")):
        with ExitStack() as stack:
            bench = Bench(spec(stage, tmp_path / "work"), journal, lambda line: None, stack, states=states())
            found += [bench.measure("perplexity", of, {"model": "same"}, lambda: {"value": 1.0}) for of in asked]
            counted = bench.meter.seconds, bench.meter.fresh_seconds
    assert [row.about for row in found] == [
        f"perplexity of {of}" for of in ("gaugefix", "gaugefix", "original", "original")
    ]
    assert [row.about for row in journal.used] == ["perplexity of original"]
    assert len({(row.row_id, row.seconds) for row in found}) == 1 and counted == (found[0].seconds, 0.0)
