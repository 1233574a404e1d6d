"""Where an environment's files come from: a place on this machine, or a data set on the Hugging Face hub.

What comes from the hub is the files as they were published, so everything after this reads them as it reads a folder.
The hub's own library downloads, keeps what it has and works offline from that; nothing of it is repeated here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HUB, SCHEME = "hub", "hf://"


@dataclass(frozen=True, slots=True)
class HubSource:
    """A data set on the hub.

    Attributes:
        repo: "owner/name".
        revision: a commit, branch or tag; None for the branch "main".
    """

    repo: str
    revision: str | None = None

    def fetch(self, patterns: Sequence[str]) -> tuple[Path, str]:
        """Download the files that match and return their folder and the commit they are of.

        Raises:
            ValueError: when the hub does not give them, with its reason and the fix.
        """
        from huggingface_hub import constants, snapshot_download

        try:
            folder = snapshot_download(
                self.repo,
                repo_type="dataset",
                revision=self.revision,
                allow_patterns=list(patterns),
                local_files_only=constants.HF_HUB_OFFLINE,  # else a pinned commit is asked for even when offline
            )
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"the data set {self.repo} at revision {self.revision or 'main'} did not come from the Hugging Face "
                f"hub ({reason}): check its name, the revision and the network, set HF_TOKEN where it asks for one, "
                "or download its files and name their folder"
            ) from error
        return Path(folder), Path(folder).name


def parse_source(text: str, repo: str | None) -> Path | HubSource:
    """Read what a user's ``--source`` names: a path, ``hub[@revision]``, or ``hf://owner/name[@revision]``.

    Args:
        text: as the user gave it.
        repo: the environment's own data set on the hub, which ``hub`` stands for; None where it has none.

    Raises:
        ValueError: for ``hub`` without such a data set, or a malformed name.
    """
    named, _, revision = text.partition("@")
    if named == HUB:
        if repo is None:
            raise ValueError(
                "this environment has no data set on the Hugging Face hub: name a folder, or hf://owner/name"
            )
        return HubSource(repo, revision or None)
    if not text.startswith(SCHEME):
        return Path(text)
    name = named.removeprefix(SCHEME)
    if name.count("/") != 1 or not all(name.split("/")):
        raise ValueError(f"{text!r} names no data set on the hub: write hf://owner/name or hf://owner/name@revision")
    return HubSource(name, revision or None)
