"""What the kernel does with an error; each function under its own name."""
