"""What a user can set about `search_agent` and `search_tool_agent`: read from the run's configuration, and checked.

Light on purpose (no torch, no veRL): the run's driver checks the same settings before anything is started.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from omegaconf import DictConfig, OmegaConf

from retrieval_index.client import TOKEN_VARIABLE, parts_of

GROUP = "wapo.search_agent"
DEFAULT_MAX_TURNS = 10


@dataclass(frozen=True, slots=True)
class SearchAgentConfig:
    """Settings of the loop, given as `+wapo.search_agent.index=PATH +wapo.search_agent.top_k=2`.

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
        max_turns: turns of the policy in one episode. Not of this group: it is
            `actor_rollout_ref.rollout.multi_turn.max_assistant_turns`, 10 where that is null.
        timeout_s: seconds that one attempt at a search may take.
        deadline_s: seconds that a search may take with all its attempts and the pauses between them.
        retries: attempts after a failed one before the run stops; where null, as many as `deadline_s` lets.
        cached_queries: queries whose passages a worker keeps, 0 for none.
        token_env: environment variable that holds the service's token.
        corpus_hash: how the index's corpus hash must begin (`python -m retrieval_index info` shows it), or one for each
            split as for `index`; a run over another corpus is refused. Not checked where it is empty.
    """

    index: str | Mapping[str, str]
    top_k: int = 3
    passage_tokens: int = 512
    max_turn_tokens: int = 1024
    queries_per_call: int = 3
    announce_budget: bool = True
    max_turns: int = DEFAULT_MAX_TURNS
    timeout_s: float = 30.0
    deadline_s: float = 120.0
    retries: int | None = None
    cached_queries: int = 4096
    token_env: str = TOKEN_VARIABLE
    corpus_hash: str | Mapping[str, str] = ""

    @classmethod
    def from_config(cls, config: DictConfig, given: Mapping[str, Any] | None = None) -> Self:
        """The settings of a run.

        Args:
            config: the whole configuration of the run.
            given: further settings, from the loop's entry in an `agent_loop_config_path` file; `config` wins.

        Raises:
            ValueError: for an unknown key, a missing index, a value of the wrong type or out of range, or a rollout
                engine other than vLLM.
        """
        values = {**(given or {}), **_group(config)}
        known = [field.name for field in fields(cls) if field.name != "max_turns"]
        unknown = sorted(set(values) - set(known))
        if unknown:
            hint = (
                "set actor_rollout_ref.rollout.multi_turn.max_assistant_turns instead"
                if unknown[0] == "max_turns"
                else f"its keys are {', '.join(known)}"
            )
            raise ValueError(f"{GROUP} has no key {unknown[0]!r}; {hint}")
        if not values.get("index"):
            raise ValueError(
                f"{GROUP}.index is not set: give the folder of an index, +{GROUP}.index=PATH "
                "(`python -m retrieval_index build` makes one), or http://host:port of a service"
            )
        rollout = config.actor_rollout_ref.rollout
        engine = rollout.get("name", "vllm")
        if engine != "vllm":
            raise ValueError(
                f"search_agent stops a turn at its closing tag through vLLM's sampling parameters; "
                f"actor_rollout_ref.rollout.name={engine} is not supported, set it to vllm"
            )
        max_turns = OmegaConf.select(rollout, "multi_turn.max_assistant_turns") or DEFAULT_MAX_TURNS
        values["index"] = _by_split(values["index"], _address)
        values["corpus_hash"] = _by_split(values.get("corpus_hash") or "", str)
        return cls(**values, max_turns=max_turns)

    @property
    def addresses(self) -> list[str]:
        """Every address that episodes may ask."""
        return [self.index] if isinstance(self.index, str) else list(self.index.values())

    def client_options(self, address: str) -> dict[str, Any]:
        """What `retrieval_index.client.connect` takes beside the address."""
        names = ("timeout_s", "deadline_s", "retries", "cached_queries", "token_env")
        return {**{name: getattr(self, name) for name in names}, "corpus_hash": self.corpus_hash_for(address)}

    def corpus_hash_for(self, address: str) -> str:
        """Return how the corpus hash of an address must begin, "" where any will do."""
        if isinstance(self.corpus_hash, str):
            return self.corpus_hash
        if isinstance(self.index, str):
            raise ValueError(f"{GROUP}.corpus_hash has a hash for each split, {GROUP}.index one address: give one hash")
        return next(
            (self.corpus_hash.get(split, "") for split, other in self.index.items() if other == address),
            "",
        )

    def address_for(self, split: str | None) -> str:
        """Return the address for a row of that split.

        Raises:
            ValueError: where there is one for each split and none for this one; the message names it and the mend.
        """
        if isinstance(self.index, str):
            return self.index
        if split is None or split not in self.index:
            raise ValueError(
                f"{GROUP}.index has no index for rows of the split {split!r}, only for {', '.join(self.index)}: "
                f"add +{GROUP}.index.{split}=PATH"
            )
        return self.index[split]

    def __post_init__(self) -> None:
        least = {
            "top_k": 1,
            "passage_tokens": 1,
            "max_turn_tokens": 1,
            "queries_per_call": 1,
            "max_turns": 1,
            "retries": 0,
            "cached_queries": 0,
        }
        for name, minimum in least.items():
            value = getattr(self, name)
            if name == "retries" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
                raise ValueError(f"{GROUP}.{name} must be a whole number of at least {minimum}, not {value!r}")
        if not isinstance(self.announce_budget, bool):
            raise ValueError(f"{GROUP}.announce_budget must be true or false, not {self.announce_budget!r}")
        for name in ("timeout_s", "deadline_s"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
                raise ValueError(f"{GROUP}.{name} must be a number of seconds above 0, not {value!r}")


def _by_split(value: Any, read: Callable[[Any], str]) -> str | dict[str, str]:
    """One value, or one for each split."""
    if isinstance(value, Mapping):
        return {str(split): read(item) for split, item in value.items()}
    return read(value)


def _address(value: Any) -> str:
    """An address as one string, several servers with commas between them."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = ",".join(parts_of([str(item) for item in value]))
    try:
        return ",".join(parts_of(str(value)))
    except ValueError as error:
        raise ValueError(f"{GROUP}.index: {error}") from error


def _group(config: DictConfig) -> dict[str, Any]:
    group = OmegaConf.select(config, GROUP)
    if group is None:
        return {}
    if not isinstance(group, DictConfig):
        raise ValueError(f"{GROUP} must be a group of keys such as +{GROUP}.index=PATH, not {group!r}")
    return {str(key): value for key, value in group.items()}
