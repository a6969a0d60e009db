"""How often the pages of a region are touched."""

from __future__ import annotations

import numpy as np

from hwsim.kernel.frames import Layout, Layouts
from hwsim.kernel.mem_map import MemMap
from hwsim.spec import Touch


def test_bands_follow_one_another_by_index() -> None:
    touch = (Touch(0.1, 1.0, 0.5), Touch(0.6, 0.001, 0.0), Touch(0.3))
    region = MemMap(Layouts((Layout("r", "anon", 0, 100, touch=touch),)), 100).regions[0]
    assert region.touch_rates(0) == (1e-9, 0.5e-9) == region.touch_rates(9)
    assert region.touch_rates(10) == (0.001 * 1e-9, 0.0) == region.touch_rates(69)
    assert region.touch_rates(70) == (0.0, 0.0) == region.touch_rates(99)
    for bands in (touch[:2], ()):  # the last pages of a region, or all: nobody touches them
        region = MemMap(Layouts((Layout("r", "anon", 0, 100, touch=bands),)), 100).regions[0]
        assert region.touch_rates(70) == (0.0, 0.0) == region.touch_rates(99)
        assert region.stores_per_ns(70, 100) == 0.0
    region = MemMap(Layouts((Layout("r", "anon", 0, 100, touch=touch),)), 100).regions[0]
    read, heal = region.line_rates(0)
    np.testing.assert_allclose([read, heal], [(1e-9 + 0.45e-9) / 64, 0.05e-9 / 64])


def test_stores_to_a_range_are_those_to_its_pages() -> None:
    touch = (Touch(0.1, 1.0, 0.5), Touch(0.6, 0.0, 0.25), Touch(0.3))
    for bands in (touch, touch[:2]):
        region = MemMap(Layouts((Layout("r", "anon", 0, 100, touch=bands),)), 100).regions[0]
        for first, end in ((0, 100), (3, 8), (5, 40), (12, 90), (70, 100), (40, 40)):
            each = sum(region.touch_rates(page)[1] for page in range(first, end))
            np.testing.assert_allclose(region.stores_per_ns(first, end), each)
