"""Kernel versions: a file each, found by name.

This is all that the rest has to know of a kernel: its name, and the file here that is loaded when somebody
asks for it (:mod:`~hwsim.kernel.versions.boot`).
"""

from __future__ import annotations

KERNELS: dict[str, str] = {"v5": "v5", "2.6.32": "v2_6_32"}
