"""What stands between two turns of the policy, as token ids, for any chat template.

The template is asked once to render a conversation whose assistant turn and result are markers; what it wrote around
the second marker is the text between two turns. So nothing here knows a model family, and a template that rewrites
earlier assistant turns (drops their thoughts, say) cannot touch what the policy wrote. Tool roles are rendered by
veRL's `tool_agent` (`turn_tokens`).
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

ASSISTANT_MARKER = "wapoAssistantMarker"
RESULT_MARKER = "wapoResultMarker"
THOUGHT = "<think>"
_QUESTION = ({"role": "user", "content": "wapoQuestionMarker"},)
_IN_ANGLE_BRACKETS = re.compile(r"<[^<>\s]+>")


class ChatTemplateError(ValueError):
    """The tokenizer's chat template cannot be used for episodes of several turns."""


@lru_cache(maxsize=4)  # some tokenizers have thousands, and every passage asks
def control_strings(tokenizer: Any) -> tuple[str, ...]:
    """Return the strings that the tokenizer turns into control tokens, which no document and no result may contain.

    The special tokens, and those added tokens in angle brackets that a tokenizer does not mark as special: Qwen's
    `<tool_response>` or `<|fim_prefix|>` are such, and are single ids that a model was trained on all the same.
    """
    added = list(getattr(tokenizer, "added_tokens_decoder", {}).values())
    control = (str(token) for token in added if token.special or _IN_ANGLE_BRACKETS.fullmatch(str(token)))
    return tuple({*tokenizer.all_special_tokens, *control})


def without_control_strings(text: str, tokenizer: Any) -> str:
    """Put a space in place of each of `control_strings`, so that what stands around it makes no new one."""
    control = _any_of(control_strings(tokenizer))
    return control.sub(" ", text) if control else text


@lru_cache(maxsize=4)
def _any_of(strings: tuple[str, ...]) -> re.Pattern[str] | None:
    longest_first = sorted(filter(None, strings), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


class TurnBoundary:
    """Where the policy's turns begin: after the prompt, and after the end of its turn and a user turn."""

    def __init__(
        self,
        tokenizer: Any,
        template_arguments: Mapping[str, Any] | None = None,
        opening: Sequence[Mapping[str, str]] = _QUESTION,
    ) -> None:
        """Read the text between turns off the tokenizer's chat template.

        Args:
            tokenizer: a Hugging Face tokenizer with a chat template.
            template_arguments: what `data.apply_chat_template_kwargs` holds.
            opening: the first messages of the episodes. A template may read there how turns are to begin: SmolLM3's
                looks for /no_think in the system message.

        Raises:
            ChatTemplateError: when the template changes or reorders what it is given.
        """
        self._tokenizer = tokenizer
        self._template_arguments = dict(template_arguments or {})
        turn_and_result = (
            {"role": "assistant", "content": ASSISTANT_MARKER},
            {"role": "user", "content": RESULT_MARKER},
        )
        rendered = self._render([*opening, *turn_and_result])
        _, turn, rest = rendered.partition(ASSISTANT_MARKER)
        self.before, result, self.after = rest.partition(RESULT_MARKER)
        if not turn or not result or ASSISTANT_MARKER in rest or RESULT_MARKER in self.after:
            raise ChatTemplateError(
                "the tokenizer's chat template does not render an assistant turn and a user turn once each and in "
                "order; give the model one that does (actor_rollout_ref.model.custom_chat_template)"
            )
        _, begun, rest = self.after.rpartition(THOUGHT)
        self.opening = begun if "</think>" not in rest else ""
        """`THOUGHT` where the template begins the policy's turns with one that the policy has to close; else ""."""
        self.ends: frozenset[int] = frozenset(
            token for token in (tokenizer.eos_token_id, tokenizer.pad_token_id, *self.ids("")[:1]) if token is not None
        )
        """Ids that end a turn when the policy emits them."""

    def opened_by(self, messages: Sequence[Mapping[str, str]]) -> "TurnBoundary":
        """Return the boundary for an episode that begins with `messages`."""
        return TurnBoundary(self._tokenizer, self._template_arguments, messages)

    def _render(self, messages: Sequence[Mapping[str, str]]) -> str:
        rendered: str = self._tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True, **self._template_arguments
        )
        return rendered

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def prompt(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the token ids of an episode's first messages, up to where the policy begins to write."""
        return self._encode(self._render(messages))

    def ids(self, content: str, last: int | None = None) -> list[int]:
        """Return the ids from the end of an assistant turn to the start of the next, with `content` as the user's turn.

        The text is fresh: it is tokenised here for the first time and never glued to decoded text. `last` is the id
        that the policy ended its turn with: an end-of-turn token that it wrote itself is not written again.
        """
        encoded = self._encode(self.before + content + self.after)
        return encoded[1:] if encoded and encoded[0] == last else encoded

    def count(self, text: str) -> int:
        """Return how many tokens `text` takes by itself."""
        return len(self._encode(text))

    def markers(self) -> tuple[str, ...]:
        """Return the strings that no document may contain: `control_strings` of the tokenizer."""
        return control_strings(self._tokenizer)
