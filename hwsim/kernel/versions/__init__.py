"""Kernel versions: a file each, found by name."""

from __future__ import annotations

from hwsim.kernel.profile import Profile
from hwsim.kernel.versions.v2_6_32 import V2_6_32
from hwsim.kernel.versions.v5 import V5

PROFILES: dict[str, Profile] = {profile.name: profile for profile in (V5, V2_6_32)}
