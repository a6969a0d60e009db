"""Whatever page is asked about, many more of them; see ``tests/support/pages_asked_for.py``."""

from __future__ import annotations

from hypothesis import settings

from tests.support.pages_asked_for import an_answer_or_a_reason

test_any_page = settings(max_examples=20_000)(an_answer_or_a_reason)
