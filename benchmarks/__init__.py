"""Budgets as ratios and exact event counts; ``make bench`` runs them, with nothing else on the machine."""
