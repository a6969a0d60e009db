"""Which write is gone, and who learns of it: fsync, sync, close and the last reader."""
