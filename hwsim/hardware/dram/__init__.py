"""DRAM: DIMMs and their geometry, address maps, faults and their rates, error-correcting codes."""
