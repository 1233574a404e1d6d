"""What stands beside an evaluation's samples: which model answered which rows, and how."""

from __future__ import annotations

MANIFEST_FILE = "manifest.json"
