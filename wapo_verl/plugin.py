"""The entry point in `verl.plugins`: importing this module loads the plugin (see `wapo_verl.loading`)."""

from wapo_verl.loading import load_or_exit

load_or_exit()
