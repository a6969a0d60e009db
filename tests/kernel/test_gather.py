"""One lookup a page: the same whatever way it takes, with numpy alone and compiled by numba."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.kernel.error_states import classify, lookup
from hwsim.kernel.gather import gather
from hwsim.kernel.versions import v2_6_32, v5
from tests.test_house import ROOT

runs = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 40_000)), max_size=6)


@given(runs, st.integers(0, 200), st.integers(0, 2**32 - 1))
def test_runs_with_others_among_them(parts: list[tuple[int, int]], others: int, seed: int) -> None:
    pieces = [np.full(pages, value, np.uint32) for value, pages in parts]
    flags = np.concatenate([np.empty(0, np.uint32), *pieces])
    random = np.random.default_rng(seed)
    if flags.size:
        flags[random.integers(0, flags.size, others)] = random.integers(0, 2**32, others, np.uint32)
    table = random.integers(0, 256, 1 << 16, np.uint8)
    assert (gather(table, flags) == table[flags & 0xFFFF]).all()


@pytest.mark.parametrize("pages", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_flags_that_are_all_random(pages: int) -> None:
    flags = np.random.default_rng(pages).integers(0, 2**32, pages, np.uint32)
    for states in (v5.ERROR_STATES, v2_6_32.ERROR_STATES):
        wanted = lookup(states)[flags & 0xFFFF]
        assert (classify(states, flags) == wanted).all()
        out = np.empty(pages, np.uint8)
        assert classify(states, flags, out) is out
        assert (out == wanted).all()


_WITH_NUMBA = """
import numba
import numpy as np
from hwsim.kernel import gather
flags = np.random.default_rng(1).integers(0, 1 << 32, 300_000, np.uint32)
flags[:200_000] = 0x40240
flags.flags.writeable = False
table = np.random.default_rng(2).integers(0, 256, 1 << 16, np.uint8)
compiled = gather.gather(table, flags)
assert gather._compiled.cache_info().currsize == 1
gather._is_compiled = lambda pages: False
assert (compiled == gather.gather(table, flags)).all()
assert (compiled == table[flags & 0xFFFF]).all()
"""


@pytest.mark.skipif(find_spec("numba") is None, reason="without the extra numba")
def test_numba_finds_the_same() -> None:
    subprocess.run([sys.executable, "-c", _WITH_NUMBA], check=True, cwd=ROOT)
