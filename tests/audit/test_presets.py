"""Published settings: each builds its merges, and takes the place of the grid."""

import pytest

from mergebarrier.audit import AuditOptions
from mergebarrier.audit.presets import PRESETS


@pytest.mark.parametrize("number", PRESETS)
def test_every_setting_of_a_preset_is_a_merge_that_can_be_made(number: str) -> None:
    settings = AuditOptions(preset=number, merges=("slerp",)).settings
    assert settings == PRESETS[number] and len(set(settings)) == len(settings)
    made = [setting.method(seed=0) for setting in settings]
    assert {method.name for method in made} == {setting.merge for setting in settings}


def test_the_attack_of_the_study_is_compared_at_its_own_coefficient() -> None:
    assert [setting.label for setting in PRESETS["2606.30360"]] == ["task_arithmetic 0.2"]
    assert [setting.label for setting in AuditOptions(preset="2503.07661").settings][-1] == "ties 0.8"
