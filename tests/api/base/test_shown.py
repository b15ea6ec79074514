"""Progress: the caller's callback as it is; a line that is written over in a notebook; silence in a program."""

import sys
import types

import pytest

from mergebarrier.api.base import in_notebook, shown


@pytest.fixture
def notebook(monkeypatch) -> None:
    """What IPython looks like from within a kernel."""
    ipython = types.ModuleType("IPython")
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setattr(ipython, "get_ipython", lambda: shell, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", ipython)


def test_a_program_is_shown_nothing(capsys) -> None:
    assert not in_notebook()
    with shown(None, "working") as step:
        step(1, 2)
    assert capsys.readouterr() == ("", "")


def test_a_callback_is_used_as_it_is(notebook, capsys) -> None:
    steps = []
    with shown(lambda *step: steps.append(step), "working") as step:
        step(1, 2)
    assert steps == [(1, 2)] and capsys.readouterr() == ("", "")


def test_a_notebook_shows_a_bar_that_ends_its_line(notebook, capsys) -> None:
    with pytest.raises(ValueError, match="stop"), shown(None, "working") as step:
        for done in (1, 1, 2):
            step(done, 2)
        raise ValueError("stop")
    shown_lines = capsys.readouterr().err
    assert shown_lines.count("\r") == 2 and "working  50%|" in shown_lines and shown_lines.endswith("| 2/2\n")
