"""The version of the program, for the package, its metadata, its results and its command line."""

__version__ = "0.1.0"
