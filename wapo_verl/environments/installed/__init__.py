"""The import path of every environment: `wapo_verl.environments.installed.NAME` is the folder of that name.

The folders lie elsewhere: the built-in ones in `envs/` (in a wheel, beside this package), a user's where
WAPO_ENVIRONMENTS says. All are loaded in the same way, as sub-packages of this one, so a folder of the user's that is
called `envs` is never taken for ours. `wapo_verl.environments.registry` appends the user's folders to `__path__`.
"""

from pathlib import Path

_ROOM = Path(__file__).parents[1]
BUILTIN = _ROOM / "builtin" if (_ROOM / "builtin").is_dir() else _ROOM.parents[1] / "envs"
__path__ = [str(BUILTIN)]
