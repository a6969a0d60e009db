"""Where the story of a bad line stands."""

from __future__ import annotations

# Nobody knows it -> a machine check is under way -> memory_failure() has returned -> nothing more can happen.
LATENT, CHECKING, HANDLED, OVER = range(4)
