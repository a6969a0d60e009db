"""The story of one bad line: the race for it, what the handler makes of it, and what comes after."""
