"""Mutation testing: would the tests notice if one point of the model were wrong?  See ``__main__``."""
