"""Make a bundle of wheels for a machine without a network: `make offline-bundle` (docs/offline.md)."""
