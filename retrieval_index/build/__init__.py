"""Build an index on the disk: read a corpus once, resume after a kill, and check what was written."""
