"""The bad lines of a machine: the race for one, what the handler makes of it, and what comes after."""
