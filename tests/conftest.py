"""What all tests share: hypothesis draws the same examples every time and keeps nothing on disk."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "hwsim",
    derandomize=True,
    deadline=None,  # a busy machine is not a failed test
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("hwsim")
