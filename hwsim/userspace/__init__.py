"""Processes: what they touch, what they do with a signal, who starts them again."""
