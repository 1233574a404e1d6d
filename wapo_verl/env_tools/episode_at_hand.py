"""One episode played where a person can watch: the turns' text, the searches, the reward.

Searches go the way of training's loops (`wapo_verl.rollout.episode_search`), over an index that is given or made of
the environment's own documents. There is no tokenizer: a token is taken for four bytes where passages are cut to their
budget, and the context has no end.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from retrieval_index import CorpusError, build_index
from retrieval_index.client import connect
from wapo_verl.env_tools.play import PLAYED, SINGLE, Row, rules_for, score, until
from wapo_verl.env_tools.row_choice import RowChoice
from wapo_verl.environments.environment import Environment, Example
from wapo_verl.environments.episode import Episode
from wapo_verl.environments.episode_rules import ToolError
from wapo_verl.environments.protocol import PROTOCOLS, render_answer
from wapo_verl.rollout.chat import TurnBoundary
from wapo_verl.rollout.episode_search import EpisodeSearch
from wapo_verl.rollout.settings import SearchAgentConfig

Write = Callable[[int], str | None]
"""The policy: the turn's number, from 1 -> what it writes; None when it writes nothing any more."""


class _FourBytesAToken(TurnBoundary):
    """Counts tokens without a tokenizer."""

    def __init__(self) -> None:
        pass

    def count(self, text: str) -> int:
        return -(-len(text.encode()) // 4)

    def markers(self) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class Game:
    """What is to be played.

    Attributes:
        env, row: the environment and one of its rows.
        library: gives the folder of the index that is searched, for the time of the episode.
        top_k: passages a search returns.
    """

    env: Environment
    row: Row
    library: AbstractContextManager[str | None]
    top_k: int

    @classmethod
    def of(cls, rows: RowChoice, number: int, index: str | None, top_k: int) -> Game:
        """Return the game of a row of the first of these splits.

        Raises:
            ValueError: when there is no such row, or nobody here can play it.
        """
        split, env = rows.splits[0], rows.env
        if env.agent_name not in PLAYED:
            raise ValueError(
                f"{env.name} is played by the loop {env.agent_name}, which needs a model; "
                f"this plays {', '.join(PLAYED)}"
            )
        found: tuple[int, Example] | None = next(islice(rows.examples(split), number, None), None)
        if found is None:
            count = sum(1 for _ in rows.examples(split))
            raise ValueError(f"{env.name} {split} has {count} rows, counted from 0; there is no row {number}")
        row = env.row(found[1], split, number)
        if env.agent_name == SINGLE:
            if index:
                raise ValueError(f"{env.name} is answered in one turn and searches nothing: leave --index out")
            return cls(env, row, nullcontext(None), top_k)
        return cls(env, row, nullcontext(index) if index else _own_index(rows), top_k)


def play(game: Game, console: Console, script: Path | None = None, gold: bool = False) -> dict[str, float]:
    """Play the game and print it; returns the reward and its parts.

    Args:
        game: what is played.
        console: where to print.
        script: file with the policy's turns; without one, and without ``gold``, they are typed.
        gold: let the environment's gold episode play.

    Raises:
        RetrievalError: when a search fails.
        OSError: when the script cannot be read.
    """
    for message in game.row["prompt"]:
        _panel(console, message["role"], message["content"], "cyan")
    single = game.row["agent_name"] == SINGLE
    write = _gold(game) if gold else _scripted(script, single) if script else _typed(console)
    with game.library as index:
        solution, episode = _single_turn(write, console) if single else _several_turns(game, index, write, console)
    scores = score(game.row, solution, None if single else episode)
    _show_reward(game, scores, episode, console)
    return scores


def _single_turn(write: Write, console: Console) -> tuple[str, Episode]:
    text = write(1) or ""
    _panel(console, "policy", text, "green")
    return text, Episode(None, completion=text)


def _several_turns(game: Game, index: str | None, write: Write, console: Console) -> tuple[str, Episode]:
    rules = rules_for(game.row)
    search = EpisodeSearch(
        connect(str(index)), SearchAgentConfig(index=str(index), top_k=game.top_k), _FourBytesAToken()
    )
    while True:
        step = rules.turn(until(write(rules.turns + 1) or "", rules.protocol.ends))
        _panel(console, f"policy, turn {rules.turns}", rules.texts[-1], "green")
        if isinstance(step, Episode):
            return step.completion, step
        if isinstance(step, ToolError):
            _panel(console, "error", rules.with_budget(step.message), "yellow")
            continue
        results = asyncio.run(search.ask(step.queries))
        rules.show((result.query, result.document_ids) for result in results)
        ids = ", ".join(document_id for result in results for document_id in result.document_ids)
        shown = rules.results([result.passages for result in results])
        _panel(console, f"results: {ids or 'none'}", shown, "yellow")


def _gold(game: Game) -> Write:
    """Write the turns of the environment's gold episode in the row's protocol."""
    gold = game.env.gold_episode(game.row)
    if game.row["agent_name"] == SINGLE:
        return _from_list([gold.completion])
    protocol = PROTOCOLS[game.row["agent_name"]]
    turns = [protocol.write([query]) for query in gold.queries]
    return _from_list([*turns, render_answer(gold.answer or "")])


def _scripted(file: Path, single: bool) -> Write:
    """Read the turns in a file: an empty line after each; the whole file where there is one turn only."""
    text = file.read_text(encoding="utf-8")
    return _from_list([text.strip("\n")] if single else list(_turns_in(text.splitlines())))


def _turns_in(lines: Sequence[str]) -> Iterator[str]:
    turn: list[str] = []
    for line in (*lines, ""):
        if line.strip():
            turn.append(line)
        elif turn:
            yield "\n".join(turn)
            turn = []


def _from_list(turns: Sequence[str]) -> Write:
    return lambda number: turns[number - 1] if number <= len(turns) else None


def _typed(console: Console) -> Write:
    """Read turns from standard input, each ended by an empty line, or by the input's end."""

    def write(number: int) -> str | None:
        if sys.stdin.isatty():
            console.print(f"[dim]turn {number}; an empty line ends it[/]")
        lines: list[str] = []
        for line in sys.stdin:
            if not line.strip():
                if lines:
                    break
                continue
            lines.append(line.rstrip("\n"))
        return "\n".join(lines) if lines else None

    return write


@contextmanager
def _own_index(rows: RowChoice) -> Iterator[str]:
    """Make an index of the environment's own documents, for the time of the block.

    They are looked for in the source, and then in the file of the rows, which may bring theirs along.
    """
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        problems: list[Exception] = []
        for place in dict.fromkeys((rows.source, *rows.env.source_files(rows.splits[0], rows.source)[:1])):
            try:
                build_index(rows.env.documents(place, **rows.options), index, "tantivy")
                break
            except (ValueError, OSError, CorpusError) as error:
                problems.append(error)
        else:
            raise ValueError(f"{problems[0]}; no index can be made of {rows.source}, so give one with --index")
        yield str(index)


def _panel(console: Console, title: str, text: str, style: str) -> None:
    console.print(Panel(Text(text or "(nothing)"), title=title, title_align="left", border_style=style))


def _show_reward(game: Game, scores: dict[str, float], episode: Episode, console: Console) -> None:
    table = Table("reward part", title="reward", title_justify="left")
    table.add_column("value", justify="right")
    table.add_column("weight", justify="right")
    for name, value in scores.items():
        if name != "score":
            table.add_row(name, f"{value:.3f}", f"{game.env.reward_weights.get(name, 0.0):g}")
    table.add_row("score", f"{scores['score']:.3f}", "", style="bold")
    console.print(table)
    truth = game.row["reward_model"]["ground_truth"]
    if game.row["agent_name"] == SINGLE:
        console.print(Text(f"ground truth: {truth}"), soft_wrap=True)
    else:
        ended = f"the episode ended as {episode.outcome}; its answer: {episode.answer!r}; ground truth: {truth}"
        console.print(Text(ended), soft_wrap=True)
