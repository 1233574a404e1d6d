"""Miniwiki: a generated world of invented names for multi-hop questions."""

from .environment import Miniwiki

ENVIRONMENT = Miniwiki()
