"""Which write is gone, and who learns of it: fsync() and its like, sync(), close(), SIGBUS and read()."""
