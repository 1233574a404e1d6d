"""Every patch this project makes: one module for each patched package, and the version it was written for."""
