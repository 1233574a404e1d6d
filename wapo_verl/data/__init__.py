"""Rows for veRL: written as parquet, described by a manifest, checked for overlap."""
