"""A kernel by itself: what it makes of one page, two kernels side by side, which results it can reach."""
