"""The entry point in `verl.plugins`: veRL imports this module inside `import verl`, in every process.

Nothing here or in what it imports needs more than the standard library, so it cannot fail for a missing package; what
a run needs is imported when the run asks for it. `WAPO_VERL_DISABLE=1` leaves veRL as it is.
"""

from wapo_verl.verl_plugin.loading import load

load()
