"""The token between a service and its clients: both read it from the environment, by default from the same variable."""

from __future__ import annotations

TOKEN_VARIABLE = "RETRIEVAL_TOKEN"
"""The environment variable with the token, unless another one is named."""
