"""Does a model's chat template hold for episodes of several turns? The check behind `wapo-verl doctor --model`.

A short conversation is built as an episode is, turn by turn from token ids, and compared with the template's rendering
of the whole, up to where the next turn begins. Where a template rewrites history the two must differ, and by that
alone: the report says so, since the policy is trained on what it saw.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError
from transformers import AutoConfig, AutoTokenizer
from verl.utils.tokenizer.continuous_token_wiring import create_continuous_token_builder

from wapo_verl.check import Check
from wapo_verl.rollout.chat import ChatTemplateError, TurnBoundary, control_strings, without_control_strings
from wapo_verl.rollout.turn_tokens import builder_for

Messages = list[dict[str, Any]]

_SYSTEM = {"role": "system", "content": "Search, then answer."}
_QUESTION = {"role": "user", "content": "Who wrote Nimbus?"}
_TURNS = ("I look: café 😀.", "I look again.")
_RESULTS = ("Nimbus\nA novel by Ada Vale.", "Zürich")
_THOUGHT = "<think>\nwapoThought\n</think>\n\n"
_TOOL = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "wapoToolMarker",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    },
}
_CUSTOM = "give the model another template: actor_rollout_ref.model.custom_chat_template"


def check_template(
    tokenizer: Any, template_arguments: Mapping[str, Any] | None = None, model_type: str | None = None
) -> list[Check]:
    """Tell what a chat template does to episodes of several turns; a check with a fix is a fault.

    Args:
        tokenizer: a Hugging Face tokenizer with a chat template.
        template_arguments: what `data.apply_chat_template_kwargs` will hold.
        model_type: as in the checkpoint's config.json; veRL chooses by it how tools' results are written.
    """
    arguments = dict(template_arguments or {})
    try:
        boundary = TurnBoundary(tokenizer, arguments)
    except ChatTemplateError as error:
        return [Check("turns", "cannot be told apart", str(error))]
    return [
        _end_of_turn(tokenizer, boundary),
        _own_system_prompt(tokenizer, boundary, arguments),
        *(_search_turns(tokenizer, arguments, opening) for opening in ([_QUESTION], [_SYSTEM, _QUESTION])),
        _thoughts(tokenizer, arguments),
        _results(tokenizer, boundary),
        *_tools(tokenizer, arguments, model_type),
    ]


def _render(tokenizer: Any, messages: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any], **more: Any) -> str:
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, **{**arguments, **more}))


def _encode(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _end_of_turn(tokenizer: Any, boundary: TurnBoundary) -> Check:
    first = boundary.ids("")[0]
    token = str(tokenizer.convert_ids_to_tokens(first))
    if token not in control_strings(tokenizer):
        fix = f"no token of its own ends a turn, so turns may be tokenised otherwise than the whole: {_CUSTOM}"
        return Check("end of a turn", repr(boundary.before), fix)
    if tokenizer.eos_token_id != first:
        fix = (
            f"the tokenizer's eos_token is {tokenizer.eos_token}, and the engine does not stop at {token} by itself: "
            f"name it as eos_token in tokenizer_config.json and as eos_token_id ({first}) in generation_config.json"
        )
        return Check("end of a turn", token, fix)
    return Check("end of a turn", f"{token}, trained on where the policy wrote it")


def _own_system_prompt(tokenizer: Any, boundary: TurnBoundary, arguments: Mapping[str, Any]) -> Check:
    before = _render(tokenizer, [_QUESTION], arguments).partition(_QUESTION["content"])[0]
    header = boundary.before
    while header and not before.endswith(header):
        header = header[1:]
    own = before.removesuffix(header)
    shown = f"{own[:57]}..." if len(own) > 60 else own
    return Check("before the first turn", f"the template writes {shown!r} by itself" if own else "nothing is added")


def _search_turns(tokenizer: Any, arguments: Mapping[str, Any], opening: Messages) -> Check:
    """Build two turns and their results as `search_agent` does, and compare with the prompt of the third turn."""
    boundary = TurnBoundary(tokenizer, arguments, opening)
    built, messages = boundary.prompt(opening), list(opening)
    for turn, result in zip(_TURNS, _RESULTS, strict=True):
        built = [*built, *_encode(tokenizer, turn), *boundary.ids(result)]
        messages += [{"role": "assistant", "content": turn}, {"role": "user", "content": result}]
    whole = _render(tokenizer, messages, arguments, add_generation_prompt=True)
    subject = "results as user turns, " + ("our system prompt" if opening[0] is _SYSTEM else "no system prompt")
    return _compare(tokenizer, subject, built, whole, _left_out_of_history(tokenizer, arguments, opening))


def _compare(tokenizer: Any, subject: str, built: list[int], whole: str, left_out: str) -> Check:
    if built == _encode(tokenizer, whole):
        return Check(subject, "built turn by turn, the ids are those of the whole conversation")
    text = tokenizer.decode(built, skip_special_tokens=False)
    for turn in _TURNS if left_out else ():
        text = text.replace(left_out + turn, turn)
    if text == whole:
        result = f"the same, but {left_out!r} before a turn: the template leaves it out of history, the policy saw it"
        return Check(subject, result)
    return Check(subject, "the ids are not those of the whole conversation", _CUSTOM)


def _left_out_of_history(tokenizer: Any, arguments: Mapping[str, Any], opening: Messages) -> str:
    """Return what the template puts in front of a turn that is about to be written, and not of one that was."""
    prompt = _render(tokenizer, opening, arguments, add_generation_prompt=True)
    turns: Messages = [{"role": "assistant", "content": _TURNS[0]}, {"role": "user", "content": _RESULTS[0]}]
    header = _render(tokenizer, [*opening, *turns], arguments).partition(_TURNS[0])[0]
    return prompt.removeprefix(header) if prompt.startswith(header) else ""


def _thoughts(tokenizer: Any, arguments: Mapping[str, Any]) -> Check:
    turn = {"role": "assistant", "content": _THOUGHT + _TURNS[0]}
    whole = _render(tokenizer, [_QUESTION, turn, {"role": "user", "content": _RESULTS[0]}], arguments)
    if "wapoThought" in whole:
        return Check("thoughts", "stay in earlier turns")
    return Check("thoughts", "the template drops those of earlier turns; the policy is trained on them as it saw them")


def _results(tokenizer: Any, boundary: TurnBoundary) -> Check:
    """Put every control string into a result, as the loops clean it, and look for control tokens."""
    hostile = without_control_strings("x".join(control_strings(tokenizer)), tokenizer)
    control = set(tokenizer.added_tokens_decoder) & set(_encode(tokenizer, hostile))
    if control & set(boundary.ids("")):
        names = ", ".join(tokenizer.convert_ids_to_tokens(sorted(control)))
        return Check("results", f"can hold {names}", "mark these tokens as not normalised in tokenizer.json")
    return Check("results", f"{len(control_strings(tokenizer))} control strings are taken out of them")


def _tools(tokenizer: Any, arguments: Mapping[str, Any], model_type: str | None) -> list[Check]:
    """Tell what veRL's `tool_agent` makes of the template; it does not matter to `search_agent`."""
    opening: Messages = [_SYSTEM, _QUESTION]
    turn, result = {"role": "assistant", "content": _TURNS[0]}, {"role": "tool", "content": _RESULTS[0]}
    try:
        shown = "wapoToolMarker" in _render(tokenizer, opening, arguments, tools=[_TOOL])
        whole = _render(tokenizer, [*opening, turn, result], arguments, tools=[_TOOL], add_generation_prompt=True)
        builder = builder_for(
            create_continuous_token_builder(
                tokenizer, hf_model_type=model_type or "", chat_template_kwargs=dict(arguments)
            )
        )
        ids = builder.build_initial_tokens(opening, tools=[_TOOL]) + _encode(tokenizer, _TURNS[0])
        built = builder.merge_context_tokens([*opening, turn], [*opening, turn, result], ids, tools=[_TOOL]).token_ids
    except (TemplateError, ValueError, TypeError) as error:
        return [Check("tools", f"not for veRL's tool_agent, use search_agent: {error}")]
    told = "shown to the policy" if shown else "not shown: the template ignores `tools`"
    left_out = _left_out_of_history(tokenizer, arguments, opening)
    return [Check("tools", told), _compare(tokenizer, "results as tool turns", built, whole, left_out)]


def check_model(path: str, template_arguments: Mapping[str, Any] | None = None) -> list[Check]:
    """Check the template of a model, given as its folder or its name on the hub, as `check_template` does."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(" :")
        return [
            Check(path, "its tokenizer cannot be read", f"give a model's folder, or its name on the hub ({reason})")
        ]
    if not tokenizer.chat_template:
        return [Check(path, "its tokenizer has no chat template", _CUSTOM)]
    try:
        model_type = AutoConfig.from_pretrained(path).model_type
    except (OSError, ValueError):  # a folder with a tokenizer alone
        model_type = None
    return check_template(tokenizer, template_arguments, model_type)
