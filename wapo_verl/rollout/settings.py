"""What a user can set about `search_agent` and `search_tool_agent`, and how their loops read what was decided.

Light on purpose (no torch, no veRL): the run's driver reads the same settings before anything is started.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Self

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from retrieval_index.client import TOKEN_VARIABLE, parts_of
from wapo_verl.environments.episode_rules import DEFAULT_MAX_TURNS, DEFAULT_QUERIES_PER_CALL

GROUP = "wapo.search_agent"
RESOLVED = "wapo.resolved.search_agent"
"""Where `wapo_verl.settings` writes the settings that the loops read."""

HOW_TO_SET_THE_INDEX = (
    f"give the folder of an index, +{GROUP}.index=PATH (`python -m retrieval_index build` makes one), or "
    "http://host:port of a service"
)

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SearchAgentKeys(BaseModel):
    """The group `wapo.search_agent`, given as `+wapo.search_agent.index=PATH +wapo.search_agent.top_k=2`.

    Attributes:
        index: the retriever's address, a folder made by `python -m retrieval_index build` or `http://host:port` of a
            service, or a list of several such; or an address for each split (`+wapo.search_agent.index.train=PATH
            +wapo.search_agent.index.test=PATH`), by the row's `extra_info.split`, so that training never sees what is
            held out. It has no default.
        top_k: documents per search.
        passage_tokens: tokens a document's text may take in the policy's context; longer ones are cut at a sentence.
        max_turn_tokens: tokens the policy may write in one turn.
        queries_per_call: queries that one call of the search tool may have (`search_tool_agent` alone).
        announce_budget: whether each result tells the policy how many turns and tokens are left, for rows whose prompt
            promises it (`wapo-verl prepare ENV --set announce_budget=true`).
        timeout_s: seconds that one attempt at a search may take.
        deadline_s: seconds that a search may take with all its attempts and the pauses between them.
        retries: attempts after a failed one before the episode has failed; where null, as many as `deadline_s` lets.
        cached_queries: queries whose passages a worker keeps, 0 for none.
        token_env: environment variable that holds the service's token.
        corpus_hash: how the index's corpus hash must begin (`python -m retrieval_index info` shows it), or one for each
            split as for `index`; a run over another corpus is refused. Not checked where it is empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    index: str | dict[str, str] = Field(description=HOW_TO_SET_THE_INDEX)
    top_k: Count = 3
    passage_tokens: Count = 512
    max_turn_tokens: Count = 1024
    queries_per_call: Count = DEFAULT_QUERIES_PER_CALL
    announce_budget: bool = True
    timeout_s: Seconds = 30.0
    deadline_s: Seconds = 120.0
    retries: Annotated[int, Field(ge=0)] | None = None
    cached_queries: Annotated[int, Field(ge=0)] = 4096
    token_env: str = TOKEN_VARIABLE
    corpus_hash: str | dict[str, str] = ""

    @field_validator("index", mode="before")
    @classmethod
    def _addresses(cls, value: Any) -> str | dict[str, str]:
        return _by_split(value, _address)

    @field_validator("corpus_hash", mode="before")
    @classmethod
    def _hashes(cls, value: Any) -> str | dict[str, str]:
        return _by_split(value, str)

    @model_validator(mode="after")
    def _one_index_has_one_hash(self) -> Self:
        if isinstance(self.index, str) and not isinstance(self.corpus_hash, str):
            raise ValueError("corpus_hash has a hash for each split, and index is one address: give one hash")
        return self


class SearchAgentConfig(SearchAgentKeys):
    """The loops' settings, complete.

    Attributes:
        max_turns: turns of the policy in one episode:
            `actor_rollout_ref.rollout.multi_turn.max_assistant_turns`, 10 where that is null.
    """

    max_turns: Count = DEFAULT_MAX_TURNS

    @classmethod
    def from_config(cls, config: DictConfig) -> Self:
        """Read what was decided for a run.

        Raises:
            ValueError: where nothing was, since the run's settings name no index.
        """
        written = OmegaConf.select(config, RESOLVED)
        if written is None:
            raise ValueError(f"{GROUP}.index is not set: {HOW_TO_SET_THE_INDEX}")
        return cls.model_validate(OmegaConf.to_container(written))

    @property
    def addresses(self) -> list[str]:
        """Every address that episodes may ask."""
        return [self.index] if isinstance(self.index, str) else list(self.index.values())

    def client_options(self, address: str) -> dict[str, Any]:
        """Return what `retrieval_index.client.connect` takes beside the address."""
        names = ("timeout_s", "deadline_s", "retries", "cached_queries", "token_env")
        return {**{name: getattr(self, name) for name in names}, "corpus_hash": self.corpus_hash_for(address)}

    def corpus_hash_for(self, address: str) -> str:
        """Return how the corpus hash of an address must begin, "" where any will do."""
        if isinstance(self.corpus_hash, str) or isinstance(self.index, str):
            return str(self.corpus_hash)
        return next((self.corpus_hash.get(split, "") for split, other in self.index.items() if other == address), "")

    def address_for(self, split: str | None) -> str:
        """Return the address for a row of that split.

        Raises:
            ValueError: where there is one for each split and none for this one; the message names the key to add.
        """
        if isinstance(self.index, str):
            return self.index
        if split is None or split not in self.index:
            raise ValueError(
                f"{GROUP}.index has no index for rows of the split {split!r}, only for {', '.join(self.index)}: "
                f"add +{GROUP}.index.{split}=PATH"
            )
        return self.index[split]


def _by_split(value: Any, read: Callable[[Any], str]) -> str | dict[str, str]:
    """Read one value, or one for each split."""
    if isinstance(value, Mapping):
        return {str(split): read(item) for split, item in value.items()}
    return read(value)


def _address(value: Any) -> str:
    """Return an address as one string, several servers with commas between them."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = ",".join(parts_of([str(item) for item in value]))
    return ",".join(parts_of(str(value)))
