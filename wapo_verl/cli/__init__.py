"""Every command of `wapo-verl`: thin layers over the rooms below."""
