"""Tools for whoever adds an environment: ``new-env`` makes one, ``check-env`` judges it, ``try-env`` plays it by hand.

No veRL, torch, Ray or vLLM is imported in here. docs/new_environment.md is the guide.
"""
