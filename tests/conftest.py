"""What all tests share: hypothesis draws the same examples every time; the collector runs rarely."""

from __future__ import annotations

import gc

from hypothesis import HealthCheck, settings

settings.register_profile(
    "hwsim",
    derandomize=True,
    deadline=None,  # a busy machine is not a failed test
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("hwsim")

# Tests run machines with thousands of live errors, as studies do with the collector off: else it takes
# a fifth of the time.
gc.set_threshold(100_000)
