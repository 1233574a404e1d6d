"""Measurements that take longer than a test, each a module that is run by itself and writes its page."""
