"""Questions argued since 2009, each with a table, a figure and an answer: ``python -m experiments``."""
