"""The machine below the kernel: scrubber and machine-check delivery."""
