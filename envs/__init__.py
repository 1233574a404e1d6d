"""Environments: one folder each, found by ``envs.registry``; no torch and no verl in here."""
