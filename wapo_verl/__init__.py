"""Winner Advantage Policy Optimization for veRL."""
