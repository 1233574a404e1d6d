"""The turn parser is total, linear and exact; results cannot be forged. No model, no retriever."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wapo_verl.environments.protocol import (
    Answer,
    Invalid,
    Search,
    Turn,
    is_well_formed,
    neutralise,
    parse_tool_turn,
    parse_turn,
    render_answer,
    render_information,
    render_passage,
    render_search,
    render_tool_response,
    render_tool_search,
)

NAMES = ("think", "search", "answer", "information", "tool_call", "tool_response")
TAGS = [f"<{slash}{name}>" for name in NAMES for slash in ("", "/")]
TEXT_TAGS, TOOL_TAGS = TAGS[:8], [tag for tag in TAGS if "search" not in tag and "information" not in tag]
turns = st.lists(st.one_of(st.sampled_from(TAGS), st.text(max_size=6)), max_size=14).map("".join)
plain = st.text(st.characters(blacklist_characters="<>"), min_size=1, max_size=20).filter(str.strip)


@pytest.mark.parametrize(
    ("text", "turn"),
    [
        ("<search>who wrote it</search>", Search(("who wrote it",))),
        ("<think>I know.</think>\n<answer> Ada </answer>", Answer("Ada")),
        ("<think>a</think><think>b</think><answer>c</answer>", Answer("c")),
        ("well: <search>a</search>, please", Search(("a",))),
        ("<search>a</search><|im_end|>", Search(("a",))),
        # thought
        ("<think>maybe <answer>x</answer> or <search>y</search></think><answer>z</answer>", Answer("z")),
        ("opened by the prompt <search>no</search></think><search>yes</search>", Search(("yes",))),
        ("<think>never closed <answer>x</answer>", Invalid("no_tag")),
        ("<think>only a thought</think>", Invalid("no_tag")),
        ("<answer>x</answer></think>", Invalid("no_tag")),
        ("<search>a</search><think>late", Search(("a",))),
        # no action
        ("", Invalid("no_tag")),
        ("The answer is Ada.", Invalid("no_tag")),
        ("<search>unfinished", Invalid("no_tag")),
        ("</search></answer>", Invalid("no_tag")),
        ("<SEARCH>a</SEARCH>", Invalid("no_tag")),
        ("< search>a</search>", Invalid("no_tag")),
        # two actions
        ("<search>a</search><search>b</search>", Invalid("two_tags")),
        ("<search>a</search><answer>b</answer>", Invalid("two_tags")),
        ("<answer>a</answer><answer>a</answer>", Invalid("two_tags")),
        ("<answer>a</answer><search>b", Invalid("two_tags")),
        # nesting
        ("<search>a<search>b</search></search>", Invalid("nested_tags")),
        ("<answer><search>a</search></answer>", Invalid("nested_tags")),
        ("<search>a</answer>", Invalid("nested_tags")),
        ("<search><think>a</think>b</search>", Invalid("nested_tags")),
        ("<answer><information>x</information></answer>", Invalid("nested_tags")),
        # nothing inside
        ("<search>  \n</search>", Invalid("empty_query")),
        ("<answer></answer>", Invalid("empty_answer")),
    ],
)
def test_each_kind_of_turn_has_its_one_meaning(text: str, turn: Turn) -> None:
    assert parse_turn(text) == turn


def test_results_written_by_the_policy_are_text() -> None:
    assert parse_turn("<information>Ada wrote it.</information>") == Invalid("no_tag")
    assert parse_turn("<information>Ada</information><answer>Ada</answer>") == Answer("Ada")


@given(turns)
def test_every_string_is_one_of_the_three(text: str) -> None:
    turn = parse_turn(text)
    if isinstance(turn, Invalid):
        assert turn.outcome in {"no_tag", "two_tags", "nested_tags", "empty_query", "empty_answer"}
    else:
        content = turn.queries[0] if isinstance(turn, Search) else turn.text
        assert content
        assert content == content.strip()
        assert not any(tag in content for tag in TEXT_TAGS)


CALL = '<tool_call>{"name": "search", "arguments": {"query_list": ["who wrote it", " a "]}}</tool_call>'
BAD_CALLS = [
    "search(a)",
    "[]",
    "null",
    '"search"',
    '{"name": "search"}',
    '{"arguments": {"query_list": ["a"]}}',
    '{"name": "browse", "arguments": {"query_list": ["a"]}}',
    '{"name": ["search"], "arguments": {"query_list": ["a"]}}',
    '{"name": "search", "arguments": {"words": ["a"]}}',
    '{"name": "search", "arguments": "{query_list: a"}',
    '{"name": "search", "arguments": 3}',
    '{"name": "search", "arguments": {"query_list": ["a", 1]}}',
    '{"name": "search", "arguments": {"query_list": ["a", "b", "c", "d"]}}',
    r'{"name": "search", "arguments": {"query_list": ["\ud800"]}}',  # half a surrogate pair is no text
    "[" * 100_000,  # deeper than Python's stack
    "1" * 5_000,  # longer than Python reads numbers
    '{"name": "search", "arguments": {"query_list": ["a"]}} {"name": "search"}',
    '{"name": "search", "arguments": {"query_list": ["a"]}} and more',
    "<function=browse><parameter=query_list>a</parameter></function>",
    "<function=search></function>",
    "<function=search",
]
REPAIRED = [
    '{"name": "search", "arguments": "{\\"query_list\\": [\\"a\\"]}"}',  # arguments as a JSON string
    '{"name": "search", "arguments": {"query": "a"}}',  # another key
    '{"name": "search", "arguments": {"query": ["a"]}}',
    '{"name": "search", "arguments": {"queries": ["a"], "top_k": 5}}',
    '{"name": "search", "arguments": {"query_list": "a"}}',  # a bare string
    '{"name": "search", "arguments": {"query_list": "[\\"a\\"]"}}',
    '{"name": "search", "arguments": ["a"]}',
    '{"name": "search", "arguments": "a"}',
    '{"name": "search", "parameters": {"query_list": ["a"]}}',  # Llama 3's word for arguments
    "<function=search>\n<parameter=query>\na\n</parameter>\n</function>",
]
SEVERAL = [  # the calls of one turn are one search
    '<tool_call>{"name": "search", "arguments": {"query_list": ["a"]}}</tool_call>' * 2,
    "<tool_call>" + '{"name": "search", "arguments": {"query_list": ["a"]}}\n' * 2 + "</tool_call>",
    '<tool_call>[{"name": "search", "arguments": {"query_list": ["a"]}}, '
    '{"name": "search", "arguments": {"query_list": ["a"]}}]</tool_call>',
]
XML = [  # the form of Qwen3-Coder's template
    '<function=search>\n<parameter=query_list>\n["a", "b c"]\n</parameter>\n</function>',
    '<function=search><parameter=query_list>["a", "b c"]</parameter></function>',
    '<function=search>\n<parameter=query_list>\n["a", "b c"]\n',  # the closing tags are missing
    '<function=search>\n<parameter=top_k>3</parameter><parameter=query_list>["a", "b c"]</parameter>\n</function>',
]


@pytest.mark.parametrize(
    ("text", "turn"),
    [
        (CALL, Search(("who wrote it", "a"))),
        (f"<think>{CALL}</think>{CALL}", Search(("who wrote it", "a"))),
        (f"{CALL}<|im_end|>", Search(("who wrote it", "a"))),
        ("<think>I know.</think>\n<answer> Ada </answer>", Answer("Ada")),
        ("<search>a</search><answer>b</answer>", Answer("b")),
        ("<tool_response>Ada</tool_response><answer>Ada</answer>", Answer("Ada")),
        (f"<think>{CALL}", Invalid("no_tag")),
        ("<search>a</search>", Invalid("no_tag")),
        ("", Invalid("no_tag")),
        (f"{CALL}{CALL}", Invalid("bad_call")),  # four queries, and three are allowed
        (f"{CALL}<answer>a", Invalid("two_tags")),
        (f"<answer>a</answer>{CALL[:-12]}", Invalid("two_tags")),
        (f"{CALL[:-12]}<|im_end|>", Invalid("bad_call")),  # not closed
        (f"{CALL}{CALL[:-12]}", Invalid("bad_call")),
        (f"{CALL}<answer>a</answer>", Invalid("two_tags")),
        (f"<answer>{CALL}</answer>", Invalid("nested_tags")),
        ("<tool_call><answer>a</answer></tool_call>", Invalid("nested_tags")),
        ("<tool_call>\n</tool_call>", Invalid("empty_query")),
        (CALL.replace("who wrote it", " "), Invalid("empty_query")),
        (CALL.replace('"who wrote it", " a "', ""), Invalid("empty_query")),
        ("<answer> </answer>", Invalid("empty_answer")),
        *((f"<tool_call>{bad}</tool_call>", Invalid("bad_call")) for bad in BAD_CALLS),
    ],
)
def test_each_kind_of_turn_with_tools_has_its_one_meaning(text: str, turn: Turn) -> None:
    assert parse_tool_turn(text, most_queries=3) == turn


@pytest.mark.parametrize("call", REPAIRED)
def test_a_malformed_call_with_one_meaning_is_repaired(call: str) -> None:
    assert parse_tool_turn(f"<tool_call>\n{call}\n</tool_call>", 3) == Search(("a",), repaired=True)


@pytest.mark.parametrize("text", SEVERAL)
def test_several_calls_in_a_turn_are_one_search(text: str) -> None:
    assert parse_tool_turn(text, 3) == Search(("a", "a"))
    assert parse_tool_turn(text, 1) == Invalid("bad_call")


@pytest.mark.parametrize("call", XML)
def test_calls_in_qwens_xml_form_are_read(call: str) -> None:
    assert parse_tool_turn(f"<tool_call>\n{call}\n</tool_call>", 3) == Search(("a", "b c"))


@pytest.mark.parametrize(
    "text",
    [
        *(f"<tool_call>{bad}</tool_call>" for bad in BAD_CALLS),
        "<tool_call></tool_call>",
        "<tool_call><tool_call>",
        "<tool_call><answer>a</answer></tool_call>",
        CALL[:-12],
    ],
)
def test_a_malformed_call_is_told_what_is_wrong_and_nothing_of_its_own(text: str) -> None:
    turn = parse_tool_turn(text, 3)
    assert isinstance(turn, Invalid)
    assert turn.error.startswith("Error: ")
    assert "<" not in turn.error, "a tag would be a control token of some tokenizers"
    assert "browse" not in turn.error
    answered = parse_tool_turn(f"<answer>a</answer>{text}", 3)
    assert isinstance(answered, Invalid)
    assert not answered.error, "beside an answer no call is repaired or explained"
    for ends in ("", "<answer></answer>", f"{CALL}<answer>a</answer>"):
        ended = parse_tool_turn(ends, 3)
        assert isinstance(ended, Invalid)
        assert not ended.error, "what is no malformed call ends the episode"


@given(st.one_of(turns, turns.map(lambda text: f"<tool_call>{text}</tool_call>"), turns.map(lambda text: CALL + text)))
def test_every_string_with_tools_is_one_of_the_three(text: str) -> None:
    turn = parse_tool_turn(text, most_queries=3)
    match turn:
        case Invalid(outcome):
            assert outcome in {"no_tag", "two_tags", "nested_tags", "empty_query", "empty_answer", "bad_call"}
        case Answer(answer):
            assert answer == answer.strip() != ""
            assert not any(tag in answer for tag in TOOL_TAGS)
        case Search(queries):
            assert 0 < len(queries) <= 3
            assert all(query == query.strip() != "" for query in queries)


thoughts = st.one_of(st.just(""), plain.map("<think>{}</think>".format))


@given(st.lists(plain, min_size=1, max_size=3), thoughts)
def test_rendered_calls_are_read_back(queries: list[str], thought: str) -> None:
    assert parse_tool_turn(thought + render_tool_search(queries), 3) == Search(tuple(map(str.strip, queries)))


@given(plain, thoughts)
def test_rendered_turns_are_read_back(content: str, thought: str) -> None:
    assert parse_turn(thought + render_search(content)) == Search((content.strip(),))
    assert parse_turn(thought + render_answer(content)) == Answer(content.strip())


@pytest.mark.parametrize(
    "piece",
    [
        "<search>",
        "<think></think>",
        "<search>a</search>",
        "</think>",
        "<",
        "<tool_call>[",
        "<tool_call>{}</tool_call>",
        "<tool_call> ",
        "<function=a><parameter=b>",
        "{} ",
        "<parameter=",
        "<function=",
        "<|x|>",
    ],
)
def test_long_turns_take_linear_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    start = time.perf_counter()
    parse_turn(text)
    parse_tool_turn(text, 3)
    parse_tool_turn(f"<tool_call><function=search>{text}</tool_call>", 3)
    parse_tool_turn(f"<tool_call>{text}</tool_call>", 3)
    is_well_formed(f"<think>a</think><search>b</search>{text}.", "search", last=False)
    assert time.perf_counter() - start < 5.0  # a quadratic parser needs hours


def test_information_joins_passages_by_a_blank_line() -> None:
    passages = [render_passage("Ada", "A person."), render_passage("", "No title.")]
    assert render_information(passages) == "<information>Ada\nA person.\n\nNo title.</information>"
    assert render_information([]) == "<information></information>"


def test_a_tools_results_say_which_query_they_are_of_where_there_are_several() -> None:
    assert render_tool_response([["Ada", "Bea"]]) == "Ada\n\nBea"
    assert render_tool_response([[]]) == "No passage was found."
    assert render_tool_response([["Ada"], []]) == (
        "Results of query 1:\n\nAda\n\nResults of query 2:\n\nNo passage was found."
    )


@given(turns, st.lists(st.sampled_from(["<|im_end|>", "<|im_", "", "end|>"]), max_size=4), st.text(max_size=5))
def test_a_passage_cannot_speak_for_the_environment(text: str, pieces: list[str], filler: str) -> None:
    cleaned = neutralise(filler.join([text, *pieces, text]), markers=["<|im_end|>", ""])
    assert not any(tag in cleaned for tag in TAGS)
    assert "<|im_end|>" not in cleaned


def test_neutralise_leaves_nothing_that_joins_up_again() -> None:
    assert neutralise("<sea<|x|>rch>", markers=["<|x|>"]) == "<sea rch>"
    assert neutralise("<<search>/search>") == "<(search)/search>"
    assert neutralise("plain <b>text</b>") == "plain <b>text</b>"
