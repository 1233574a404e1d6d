"""The command line: build, search, serve, coverage."""
