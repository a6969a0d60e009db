"""The profile of a kernel by its name, as its own file has it or as a scenario boots it."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module

from hwsim.kernel.kernel import Kernel
from hwsim.kernel.machine_checks import Handling
from hwsim.kernel.mce.do_machine_check import HANDLING
from hwsim.kernel.profile import Profile
from hwsim.kernel.versions import KERNELS
from hwsim.kernel.versions.switches import with_switches


def profile_of(kernel: str) -> Profile[Kernel]:
    """The kernel by itself; KeyError for a name that the registry does not have."""
    found: Profile[Kernel] = import_module(f"hwsim.kernel.versions.{KERNELS[kernel]}").PROFILE
    return found


def all_profiles() -> dict[str, Profile[Kernel]]:
    """Every kernel of the registry, in its order."""
    return {name: profile_of(name) for name in KERNELS}


@lru_cache(maxsize=16)  # each boot asks
def booted(kernel: str, switches: tuple[tuple[str, str | float], ...]) -> Profile[Kernel]:
    """The kernel with the switches of a scenario."""
    return with_switches(profile_of(kernel), switches)


def machine_checks() -> dict[str, Handling]:
    """Machine-check code by all its names: its own, and those of the kernels that have it."""
    return {**HANDLING, **{name: each.machine_checks for name, each in all_profiles().items()}}
