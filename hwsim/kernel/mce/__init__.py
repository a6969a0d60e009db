"""Linux's arch/x86/kernel/cpu/mcheck/: from the banks of a machine check to who handles the page."""
