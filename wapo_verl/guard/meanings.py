"""What an alarm means for the policy, in one sentence a rule; `docs/collapse.md` has the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Meaning:
    """A sentence, and the page that says how to look further."""

    sentence: str
    page: str = "docs/collapse.md"


MEANINGS: Mapping[str, Meaning] = {
    "not_finite": Meaning("A number overflowed, and every update after it is lost."),
    "entropy_floor": Meaning("The policy samples one answer and soon has no winners left.", "docs/taxonomy.md"),
    "entropy_ceiling": Meaning("The policy samples noise.", "docs/taxonomy.md"),
    "reward_fall": Meaning("Answers became worse than they were; the other rules say how."),
    "reward_constant": Meaning("All completions have the same reward, so the run stands still."),
    "no_winner": Meaning("No completion beats its group, so the run stands still.", "docs/group_filter.md"),
    "length_floor": Meaning("Completions stop early."),
    "length_ceiling": Meaning("Completions do not come to an end."),
    "repetition": Meaning("Completions repeat themselves."),
    "truncation": Meaning("Completions are cut by a length limit before they answer."),
    "answer_fall": Meaning("The policy stopped answering."),
    "winner_likelihood": Meaning("The winners themselves become less likely.", "docs/taxonomy.md"),
    "search_floor": Meaning("The policy stopped searching.", "docs/envs/search_episodes.md"),
    "mismatch": Meaning("The rollout and the actor compute different probabilities.", "docs/reference.md"),
    "grad_norm": Meaning("One update was too large."),
}
