"""Miniwiki: a generated world of invented names for multi-hop questions."""

from envs.miniwiki.environment import Miniwiki

ENVIRONMENT = Miniwiki()
