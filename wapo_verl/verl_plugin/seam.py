"""One name of veRL that this package depends on, and how it is held against a veRL's source."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wapo_verl.verl_plugin.verl_source import VerlSource


@dataclass(frozen=True, slots=True)
class Seam:
    """One name.

    Attributes:
        module: dotted name of the module that we take it from, or that defines the class it belongs to.
        name: its name there, after the class's and a dot where it is a member.
        parameters: as in the source, without annotations, "=" behind those with a default; "" for what is no function.
        replaced: whether we put something in its place, so that its parameters must be exactly these; else more may
            have come that have a default.
    """

    module: str
    name: str
    parameters: str = ""
    replaced: bool = False

    def misfit(self, source: VerlSource) -> str | None:
        """Return what is wrong with it in some veRL, or None."""
        there = source.parameters(self.module, self.name)
        if there is None:
            return f"{self.module}.{self.name} is gone"
        wanted = [name.rstrip("=") for name in self.parameters.split(", ") if name]
        names = [name for name, _ in there]
        missing = [name for name in wanted if name not in names]
        added = [name for name, optional in there if name not in wanted and (self.replaced or not optional)]
        if not wanted or not (missing or added or [name for name in names if name in wanted] != wanted):
            return None
        changes = (("does not take", missing), ("takes beside them", added))
        said = " and ".join(f"{how} {', '.join(those)}" for how, those in changes if those)
        return f"{self.module}.{self.name} {said or 'takes its parameters in another order'}"


def seams_of(module: str, *used: str, replaced: Iterable[str] = ()) -> Iterator[Seam]:
    """Yield the seams of one module, each written as "name" or "name(parameters)".

    Args:
        module: its dotted name.
        *used: what we import, call or read of it.
        replaced: what we patch or override.
    """
    for texts, is_replaced in ((used, False), (replaced, True)):
        for text in texts:
            name, _, parameters = text.rstrip(")").partition("(")
            yield Seam(module, name, parameters, is_replaced)
