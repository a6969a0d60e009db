"""What people look at: tables for the terminal, figures for paper and notebooks.

Reads results and estimates only; knows nothing of the model.
"""
