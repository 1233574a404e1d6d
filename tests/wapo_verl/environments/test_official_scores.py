"""Files of predictions score what upstream's scripts give: by hand, and against a second, plain reading of the rules.

No network. The second reading (`told_*`) shares no code with the package: it is written from upstream's documentation.
"""

from __future__ import annotations

import json
import string
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wapo_verl.environments.official import FileScores
from wapo_verl.environments.registry import environment

UNKNOWN_ZZ = "id that the reference does not have, passed over (such as 'zz')"
KINDS = ("em", "f1", "prec", "recall")


def score(name: str, folder: Path, predictions: Any, reference: Any) -> FileScores:
    files = folder / "predictions.json", folder / "reference.json"
    for file, value in zip(files, (predictions, reference), strict=True):
        file.write_text(json.dumps(value))
    return environment(name).score_files(*files)


def gold(id_: str, answer: str, *facts: tuple[str, int]) -> dict[str, Any]:
    return {"_id": id_, "answer": answer, "supporting_facts": [list(fact) for fact in facts]}


# --- by hand


def test_hotpotqa_by_hand(tmp_path: Path) -> None:
    """Four questions: all right; half an answer with one of two facts; an answer alone; facts alone."""
    reference = [
        gold("a", "The Red Keel", ("Red Keel", 0), ("Vesk", 2)),
        gold("b", "Ada Vale", ("Ada Vale", 0), ("Nimbus", 1)),
        gold("c", "yes", ("Vesk", 0)),
        gold("d", "no", ("Vesk", 1)),
    ]
    predictions = {
        "answer": {"a": "red keel!", "b": "Ada Lovelace King Vale", "c": "yes it is", "zz": "unknown"},
        "sp": {
            "a": [["Vesk", 2], ["Red Keel", 0], ["Vesk", 2]],
            "b": [["Ada Vale", 0]],
            "d": [["Vesk", 1], ["Vesk", 0]],
        },
    }
    found = score("hotpotqa", tmp_path, predictions, reference)
    # b: the answer shares 2 of 4 and of 2 tokens; its facts 1 of 1 and of 2. Joint: P 1/2 x 1, R 1 x 1/2, F1 1/2.
    expected = {
        "em": 1 / 4, "f1": (1 + 2 / 3) / 4, "prec": (1 + 1 / 2) / 4, "recall": 2 / 4,
        "sp_em": 1 / 4, "sp_f1": (1 + 2 / 3 + 2 / 3) / 4, "sp_prec": 2.5 / 4, "sp_recall": 2.5 / 4,
        "joint_em": 1 / 4, "joint_f1": (1 + 1 / 2) / 4, "joint_prec": (1 + 1 / 2) / 4, "joint_recall": (1 + 1 / 2) / 4,
    }  # fmt: skip
    assert found.metrics == pytest.approx(expected)
    assert found.notes == {"missing answer": 1, "missing supporting facts": 1, UNKNOWN_ZZ: 1}


def test_hotpotqas_corners_by_hand(tmp_path: Path) -> None:
    """Both sides normalise to nothing: an exact match whose F1 is 0. No fact on either side: the same."""
    found = score("hotpotqa", tmp_path, {"answer": {"a": "the"}, "sp": {"a": []}}, [gold("a", "A")])
    zero = dict.fromkeys(("f1", "prec", "recall"), 0.0)
    assert found.metrics == {
        **{"em": 1.0, **zero},
        **{f"sp_{name}": value for name, value in {"em": 1.0, **zero}.items()},
        **{f"joint_{name}": value for name, value in {"em": 1.0, **zero}.items()},
    }


def test_ottqa_by_hand(tmp_path: Path) -> None:
    """Four questions, three predicted: the total's denominator is four, a place's are those predicted."""
    reference = {
        "reference": {"a": "The Red Keel", "b": "yes", "c": "1,204", "d": "Vesk"},
        "table": ["a", "d"],
        "passage": ["b", "c"],
    }
    predictions = [
        {"question_id": "b", "pred": "no"},
        {"question_id": "a", "pred": "red keel"},
        {"question_id": "b", "pred": "yes it is"},
        {"question_id": "c", "pred": "1204"},
        {"question_id": "zz", "pred": "Vesk"},
    ]
    found = score("ottqa", tmp_path, predictions, reference)
    # b: no rule for yes and no here, 1 of 3 and of 1 tokens shared, and the later prediction counts.
    assert found.metrics == pytest.approx(
        {
            "table exact": 100, "table f1": 100,
            "passage exact": 50, "passage f1": 75,
            "total exact": 50, "total f1": 62.5, "total": 4,
        }
    )  # fmt: skip
    assert found.notes == {"missing question": 1, UNKNOWN_ZZ: 1}
    assert score("ottqa", tmp_path, [], {"reference": {"a": "x"}}).metrics == {
        "total exact": 0.0,
        "total f1": 0.0,
        "total": 1.0,
    }


def test_ottqas_empty_sides_by_hand(tmp_path: Path) -> None:
    reference = {"reference": {"a": "The", "b": "the", "c": "keel"}}
    predictions = [{"question_id": id_, "pred": pred} for id_, pred in (("a", ""), ("b", "keel"), ("c", "an"))]
    found = score("ottqa", tmp_path, predictions, reference)
    assert found.metrics == pytest.approx({"total exact": 100 / 3, "total f1": 100 / 3, "total": 3})


# --- a second reading of the rules, in exact fractions


def told_tokens(text: str) -> list[str]:
    """Lower case; without ASCII punctuation; without the words a, an, the; the rest, split at white space.

    A word here is a run of letters, digits and underscores of any script, so an article may stand beside a dash of
    another script; it is replaced by a space.
    """
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    rest, word = "", ""
    for character in [*text, " "]:
        if character.isalnum() or character == "_":
            word += character
        else:
            rest += (" " if word in ("a", "an", "the") else word) + character
            word = ""
    return rest.split()


def told_overlap(prediction: list[str], gold_: list[str]) -> tuple[Fraction, Fraction, Fraction]:
    left = list(gold_)
    shared = 0
    for token in prediction:
        if token in left:
            left.remove(token)
            shared += 1
    if not shared:
        return Fraction(0), Fraction(0), Fraction(0)
    precision, recall = Fraction(shared, len(prediction)), Fraction(shared, len(gold_))
    return 2 * precision * recall / (precision + recall), precision, recall


def told_hotpotqa(predictions: Any, reference: list[dict[str, Any]]) -> dict[str, Fraction]:
    names = [part + kind for part in ("", "sp_", "joint_") for kind in KINDS]
    total = dict.fromkeys(names, Fraction(0))
    for question in reference:
        id_, scores = question["_id"], {}
        if id_ in predictions["answer"]:
            said, meant = (told_tokens(text) for text in (predictions["answer"][id_], question["answer"]))
            closed = [tokens in (["yes"], ["no"], ["noanswer"]) for tokens in (said, meant)]
            none = (Fraction(0),) * 3
            overlap = none if any(closed) and said != meant else told_overlap(said, meant)
            scores[""] = (Fraction(said == meant), *overlap)
        if id_ in predictions["sp"]:
            said_facts = {(title, number) for title, number in predictions["sp"][id_]}
            meant_facts = {(title, number) for title, number in question["supporting_facts"]}
            shared = sum(1 for fact in said_facts if fact in meant_facts)
            precision = Fraction(shared, len(said_facts)) if said_facts else Fraction(0)
            recall = Fraction(shared, len(meant_facts)) if meant_facts else Fraction(0)
            both = precision + recall
            f1 = 2 * precision * recall / both if both else Fraction(0)
            scores["sp_"] = (Fraction(said_facts == meant_facts), f1, precision, recall)
        if len(scores) == 2:
            (match, _, precision, recall), (fact_match, _, fact_precision, fact_recall) = scores[""], scores["sp_"]
            precision, recall = precision * fact_precision, recall * fact_recall
            both = precision + recall
            f1 = 2 * precision * recall / both if both else Fraction(0)
            scores["joint_"] = (match * fact_match, f1, precision, recall)
        for part, values in scores.items():
            for kind, value in zip(KINDS, values, strict=True):
                total[part + kind] += value
    return {name: value / len(reference) for name, value in total.items()}


def told_ottqa(predictions: list[dict[str, str]], reference: dict[str, Any]) -> dict[str, Fraction]:
    golds, last = reference["reference"], {item["question_id"]: item["pred"] for item in predictions}
    last = {id_: pred for id_, pred in last.items() if id_ in golds}
    exact, f1 = {}, {}
    for id_, pred in last.items():
        said, meant = told_tokens(pred), told_tokens(golds[id_])
        exact[id_] = Fraction(said == meant)
        f1[id_] = Fraction(said == meant) if not said or not meant else told_overlap(said, meant)[0]
    told = {
        "total exact": 100 * Fraction(sum(exact.values())) / len(golds),
        "total f1": 100 * Fraction(sum(f1.values())) / len(golds),
        "total": Fraction(len(golds)),
    }
    for place in ("table", "passage"):
        ids = [id_ for id_ in set(reference.get(place, [])) if id_ in exact]
        if ids:
            told[f"{place} exact"] = 100 * Fraction(sum(exact[id_] for id_ in ids)) / len(ids)
            told[f"{place} f1"] = 100 * Fraction(sum(f1[id_] for id_ in ids)) / len(ids)
    return told


# Words that the rules act on, so that equal, overlapping and empty answers are drawn often.
WORDS = [
    "the",
    "A",
    "an",
    "yes",
    "No",
    "noanswer",
    "Red",
    "red",
    "keel",
    "keel.",
    "-",
    "U.S.",
    "é",
    "–the–",
    "1,204",
    "İ",
]
answers = st.one_of(st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join), st.text(max_size=12), st.just(""))
ids = st.sampled_from("abcdef")
facts = st.lists(st.tuples(st.sampled_from(["Vesk", "Red Keel", "é"]), st.integers(0, 2)), max_size=4)
golds = st.lists(st.tuples(answers, facts), min_size=1, max_size=5)
exhaustive = settings(max_examples=150)


def assert_told(found: FileScores, told: dict[str, Fraction]) -> None:
    assert found.metrics.keys() == told.keys()
    for name, value in told.items():
        assert found.metrics[name] == pytest.approx(float(value), abs=1e-12), name


@exhaustive
@given(golds, st.dictionaries(ids, answers), st.dictionaries(ids, facts))
def test_hotpotqa_as_told(tmp_path: Path, golds_: Any, said: dict[str, str], said_facts: dict[str, Any]) -> None:
    reference = [gold(id_, answer, *facts_) for id_, (answer, facts_) in zip("abcde", golds_, strict=False)]
    predictions = {"answer": said, "sp": said_facts}
    assert_told(score("hotpotqa", tmp_path, predictions, reference), told_hotpotqa(predictions, reference))


@exhaustive
@given(
    st.dictionaries(ids, answers, min_size=1),
    st.lists(st.tuples(ids, answers), max_size=6),
    st.lists(ids, max_size=4),
    st.lists(ids, max_size=4),
)
def test_ottqa_as_told(tmp_path: Path, golds_: Any, said: Any, table: list[str], passage: list[str]) -> None:
    reference = {"reference": golds_, "table": table, "passage": passage}
    predictions = [{"question_id": id_, "pred": pred} for id_, pred in said]
    assert_told(score("ottqa", tmp_path, predictions, reference), told_ottqa(predictions, reference))


# --- files


def test_a_hubs_questions_serve_as_reference(tmp_path: Path) -> None:
    official = [gold("a", "Vesk", ("Vesk", 0), ("Orlin Harbour", 1)), gold("b", "yes", ("Vesk", 1))]
    predictions = {"answer": {"a": "Vesk", "b": "no"}, "sp": {"a": [["Vesk", 0]], "b": [["Vesk", 1]]}}
    expected = score("hotpotqa", tmp_path, predictions, official)
    hub = [
        {
            "id": row["_id"],
            "answer": row["answer"],
            "supporting_facts": {
                "title": [title for title, _ in row["supporting_facts"]],
                "sent_id": [number for _, number in row["supporting_facts"]],
            },
        }
        for row in official
    ]
    pq.write_table(pa.Table.from_pylist(hub), tmp_path / "hub.parquet")
    found = environment("hotpotqa").score_files(tmp_path / "predictions.json", tmp_path / "hub.parquet")
    assert found == expected


def test_gold_predictions_score_one(tmp_path: Path) -> None:
    """The samples' own answers, in the formats of the scripts."""
    rows = json.loads((environment("hotpotqa").sample_source() / "hotpot_dev_distractor_v1.json").read_text())
    predictions = {
        "answer": {row["_id"]: row["answer"] for row in rows},
        "sp": {row["_id"]: row["supporting_facts"] for row in rows},
    }
    found = score("hotpotqa", tmp_path, predictions, rows)
    assert set(found.metrics.values()) == {1.0}
    rows = json.loads((environment("ottqa").sample_source() / "released_data" / "dev.traced.json").read_text())
    pairs = {row["question_id"]: row["answer-text"] for row in rows}
    predictions = [{"question_id": id_, "pred": answer} for id_, answer in pairs.items()]
    found = score("ottqa", tmp_path, predictions, {"reference": pairs})
    assert found.metrics == {"total exact": 100.0, "total f1": 100.0, "total": len(pairs)}


HOTPOT, OTT = [gold("a", "Vesk", ("Vesk", 0))], {"reference": {"a": "Vesk"}}


@pytest.mark.parametrize(
    ("name", "predictions", "reference", "said"),
    [
        ("hotpotqa", {"answer": {}}, HOTPOT, r"predictions.json must hold .*\"sp\""),
        ("hotpotqa", [], HOTPOT, "predictions.json must hold"),
        ("hotpotqa", {"answer": {"a": 3}, "sp": {}}, HOTPOT, "the answer of 'a' in .* must be text, not 3"),
        ("hotpotqa", {"answer": {}, "sp": {"a": 3}}, HOTPOT, "supporting facts of 'a'"),
        ("hotpotqa", {"answer": {}, "sp": {}}, [], "holds no question"),
        ("hotpotqa", {"answer": {}, "sp": {}}, [{"_id": "a", "supporting_facts": []}], "published without answers"),
        ("hotpotqa", {"answer": {}, "sp": {"a": "Vesk"}}, HOTPOT, "supporting facts of 'a'"),
        ("hotpotqa", {"answer": {}, "sp": {"a": {"Vesk": 0}}}, HOTPOT, "supporting facts of 'a'"),
        ("hotpotqa", {"answer": {}, "sp": {"a": [["Vesk"]]}}, HOTPOT, "supporting facts of 'a'"),
        ("hotpotqa", {"answer": {}, "sp": {"a": [[["Vesk"], 0]]}}, HOTPOT, "supporting facts of 'a'"),
        ("ottqa", {}, OTT, "must hold a list"),
        ("ottqa", [{"question_id": "a"}], OTT, "pred of 'a' in .* must be text, not None"),
        ("ottqa", [], {"reference": {}}, "at least one question"),
        ("ottqa", [], {"reference": {"a": "x"}, "table": "a"}, "'table' in .* must be a list"),
        ("miniwiki", {}, {}, "miniwiki has no official script"),
    ],
)
def test_each_mistake_is_named(name: str, predictions: Any, reference: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        score(name, tmp_path, predictions, reference)


def test_the_command_prints_the_numbers_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import typer

    from wapo_verl.cli.score import score as command

    score("ottqa", tmp_path, [], OTT)
    command("ottqa", tmp_path / "predictions.json", tmp_path / "reference.json")
    output = capsys.readouterr()
    assert json.loads(output.out) == {"total exact": 0.0, "total f1": 0.0, "total": 1.0}
    assert "note: missing question: 1" in output.err
    (tmp_path / "predictions.json").write_text("[]", encoding="utf-8-sig")
    command("ottqa", tmp_path / "predictions.json", tmp_path / "reference.json")
    assert json.loads(capsys.readouterr().out)["total"] == 1.0
    for text in ("{", "[" * 100_000):
        (tmp_path / "predictions.json").write_text(text)
        with pytest.raises(typer.Exit):
            command("ottqa", tmp_path / "predictions.json", tmp_path / "reference.json")
        assert "predictions.json is no JSON text" in capsys.readouterr().err
    with pytest.raises(typer.Exit):
        command("ottqa", tmp_path / "gone.json", tmp_path / "reference.json")
    assert capsys.readouterr().err == f"error: {tmp_path / 'gone.json'}: No such file or directory\n"
