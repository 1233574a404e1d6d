"""The entry point in `verl.plugins`: importing this module loads the plugin (see `wapo_verl.verl_plugin.loading`)."""

from wapo_verl.verl_plugin.loading import load_or_exit

load_or_exit()
