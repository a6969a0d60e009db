"""Frames on the free lists of the page allocator."""

from __future__ import annotations

from hwsim.kernel import page_flags as pg
from hwsim.memory.drawing import free, free_each
from hwsim.memory.kinds.behaviour import Behaviour, Structure

BEHAVIOURS = {"free": Behaviour(Structure(pg.BUDDY, references=0), free, draw_each=free_each)}
