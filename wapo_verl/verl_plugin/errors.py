"""The one error of this room."""


class PluginError(RuntimeError):
    """A run asks for this package, which cannot work here; the message says why, and the fix."""
