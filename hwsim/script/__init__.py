"""A script: steps at stated times, written like what a person would type into a test machine."""
