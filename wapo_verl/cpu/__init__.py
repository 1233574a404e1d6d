"""The CPU as a veRL platform: the device, the settings a CPU run needs, and vLLM's CPU build."""
