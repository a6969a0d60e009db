"""Linux's mm/: page lists and caches, page tables, swap, and memory_failure()."""
