"""Pages that hypothesis asks ``explain`` about: any flags, owner, build and switch, possible or not."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hwsim import explain
from hwsim.explaining.question import BUFFER_STATES, MAPPINGS, ExplainError
from hwsim.kernel.page_flags import NAMES
from hwsim.kernel.switches import SWITCHES
from hwsim.kernel.versions import KERNELS

SETTINGS = [f"{each.name}={value}" for each in SWITCHES for value in each.allowed or ("0", "0.5", "1")]
PAGES = st.fixed_dictionaries(
    {
        "flags": st.sets(st.sampled_from(sorted(NAMES)), max_size=6),
        "kernel": st.sampled_from(sorted(KERNELS)),
        "mapped": st.integers(0, 3),
        "early_kill": st.sampled_from((None, 0, 1)),
        "mapping": st.sampled_from((None, *MAPPINGS)),
        "pte_dirty": st.booleans(),
        "buffers": st.sampled_from(BUFFER_STATES),
        "pins": st.integers(0, 2),
        "unmap_fails": st.integers(0, 6),
        "unevictable_lru": st.booleans(),
        "mlocked_page_bit": st.booleans(),
        "pageflags_extended": st.booleans(),
        "switches": st.lists(st.sampled_from(SETTINGS), max_size=2),
    }
)


@given(PAGES)
def an_answer_or_a_reason(page: dict[str, Any]) -> None:
    """Never an error of the model; a refusal names the state, the kernel and what is allowed."""
    try:
        answer = explain(**page)
    except ExplainError as reason:
        for line in str(reason).splitlines():
            assert f"cannot be in {page['kernel']}: " in line, line
            assert "allowed are" in line, line
    else:
        assert str(answer)
