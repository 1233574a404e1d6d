"""The commands of `wapo-verl`: they read arguments, call the packages below and print."""
