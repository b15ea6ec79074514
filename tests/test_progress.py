"""What is said about time: never nothing, never "about under", and days where seconds would not be read."""

import pytest

from mergebarrier.progress import duration, early_forecast, forecast


@pytest.mark.parametrize(
    ("seconds", "taken", "coming"),
    [
        (0.0, "under 0.1 s", "under 0.1 s"),
        (3.42, "3.4 s", "about 3.4 s"),
        (699.4, "699 s", "about 699 s"),
        (1e13, "115,740,741 days", "about 115,740,741 days"),
    ],
)
def test_a_time_is_said_as_it_is_and_as_it_is_foreseen(seconds, taken, coming) -> None:
    assert (duration(seconds), forecast(seconds)) == (taken, coming)


def test_a_long_run_is_foreseen_once_and_a_short_one_never() -> None:
    assert [early_forecast(done, 1000, 6.0) for done in (2, 3, 4)] == ["", "about 2000 s", ""]
    assert not early_forecast(3, 200, 6.0) and not early_forecast(3, 0, 6000.0)
