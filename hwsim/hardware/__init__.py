"""DRAM, its faults, codes and address maps; the scrubber; machine checks, and texts that report them."""
