"""What an environment is made of: examples, episodes, verifiers, and the registry that finds them. No torch."""
