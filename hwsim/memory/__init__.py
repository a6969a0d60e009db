"""What memory looks like at a moment: who has which frames, and what chance makes of them; no kernel code."""
