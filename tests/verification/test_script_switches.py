"""All flags under every switch and both policies; see ``tests/script/test_script_switches.py``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.oracles.oracle_switches import Switches
from tests.oracles.oracle_v5 import contradictions
from tests.script.test_script_switches import SWITCHED_ONCE, check, flags_cases


@pytest.mark.parametrize(("name", "value"), SWITCHED_ONCE)
def test_all_flags_under_one_switch(name: str, value: Any) -> None:
    switches, compared = replace(Switches(), **{name: value}), 0
    for case in flags_cases(both=True):
        if not contradictions(case):
            check(case, switches)
            compared += 1
    assert compared > 9_000
