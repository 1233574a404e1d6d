"""The command line: build, serve, search."""
