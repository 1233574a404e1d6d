"""The keys under `wapo.`, and the one sentence that each mistake gets. No veRL configuration, no GPU."""

from typing import Any

import pytest
from omegaconf import OmegaConf

from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.settings.keys import SettingsError, WapoKeys, read

INDEX = {"index": "x"}


def keys(wapo: Any = None, estimator: str = "wapo") -> WapoKeys:
    config = OmegaConf.create({"algorithm": {"adv_estimator": estimator}, **({} if wapo is None else {"wapo": wapo})})
    return read(config, ALGORITHMS.get(estimator))[0]


def rollback(**on_rollback: Any) -> dict[str, Any]:
    return {"action": "rollback", "on_rollback": on_rollback}


def test_without_a_key_nothing_is_asked_for() -> None:
    made = keys()
    assert made == WapoKeys()
    assert (made.guard, made.search_agent, made.planned) == (None, None, [])


def test_a_null_is_a_key_left_out() -> None:
    assert keys({"guard": None, "taxonomy": {"include_bins": None}, "winners_only": None}).planned == ["taxonomy"]


def test_every_key_of_the_guard_arrives() -> None:
    guard = keys(
        {
            "guard": {
                "action": "rollback",
                "confirm": 4,
                "max_rollbacks": 2,
                "on_rollback": {"lr_factor": 0.5},
                "silent": ["entropy_floor", "grad_norm"],
                "patience": 6,
                "reward_fall_absolute": 0.2,
            }
        }
    ).guard
    assert guard is not None
    assert (guard.action, guard.confirm, guard.max_rollbacks) == ("rollback", 4, 2)
    assert (guard.patience, guard.reward_fall_absolute) == (6, 0.2)
    assert guard.on_rollback is not None
    assert guard.on_rollback.lr_factor == 0.5
    assert not {"entropy_floor", "grad_norm"} & {rule.name for rule in guard.rules}
    one = keys({"guard": {"action": "warn", "silent": "repetition"}}).guard
    assert one is not None
    assert one.silent == ["repetition"]


def test_an_address_may_be_a_service_or_several_or_one_for_each_split() -> None:
    group = {"index": {"train": "http://a:1/", "test": ["http://a:1", "http://b:2"]}, "corpus_hash": {"train": "ab"}}
    search = keys({"search_agent": group}).search_agent
    assert search is not None
    assert search.index == {"train": "http://a:1", "test": "http://a:1,http://b:2"}
    assert search.announce_budget
    assert (search.top_k, search.passage_tokens, search.max_turn_tokens, search.retries) == (3, 512, 1024, None)


@pytest.mark.parametrize(
    ("wapo", "said"),
    [
        (3, r"^wapo=3 is no group of keys: set \+wapo\.trainer="),
        ({"gaurd": {"action": "stop"}}, r"wapo\.gaurd is not a key of this project: did you mean wapo\.guard\?"),
        ({"advantge": "none"}, r"wapo\.advantge is not a key of this project: did you mean wapo\.advantage\?"),
        ({"xyz": 1}, r"wapo\.xyz is not a key of this project: there are trainer, winners_only, .* truncated"),
        ({"trainer": "maybe"}, r"wapo\.trainer=maybe is not possible: choose true, false"),
        ({"winners_only": "always"}, r"wapo\.winners_only=always is not possible: choose true, false"),
        ({"winners_kl": 1}, r"wapo\.winners_kl=1 is not possible: choose true, false"),
        ({"truncated": "cut"}, r"wapo\.truncated=cut is not possible: choose keep, zero, drop"),
        ({"group_weight": "std"}, "wapo.group_weight is an option of cpgd, and algorithm.adv_estimator is wapo"),
        ({"taxonomy": True}, r"wapo\.taxonomy=True is no group of keys: set \+wapo\.taxonomy\.log=\.\.\."),
        ({"taxonomy": {"logg": True}}, r"wapo\.taxonomy\.logg is not a key .*: did you mean wapo\.taxonomy\.log\?"),
        ({"taxonomy": {"renormalise": True}}, r"wapo\.taxonomy\.renormalise is not a key .*: there are log, losers"),
        ({"taxonomy": {"log": "yes"}}, r"wapo\.taxonomy\.log=yes is not possible: choose true, false"),
        ({"taxonomy": {"include_bins": ["peek"]}}, r"wapo\.taxonomy: No bin is called 'peek'; use pos_peak"),
        ({"taxonomy": {"include_bins": []}}, r"wapo\.taxonomy: The list of bins is empty"),
        ({"taxonomy": {"include_bins": 3}}, r"wapo\.taxonomy\.include_bins must be a list such as \[a,b\], not 3"),
        ({"taxonomy": {"include_bins": ["peak"], "exclude_bins": ["neg"]}}, r"include_bins and exclude_bins"),
        ({"negative_weights": {"pos_peak": 1.0}}, r"wapo\.negative_weights\.pos_peak is not a key"),
        ({"negative_weights": {"neg_peak": -1.0}}, r"neg_peak must be a finite number of at least 0, not -1\.0"),
        ({"negative_weights": 0.1}, r"=0\.1 is no group of keys: set \+wapo\.negative_weights\.neg_peak=\.\.\."),
        ({"clip_schedule": "linear"}, r"set \+wapo\.clip_schedule\.kind=\.\.\."),
        ({"clip_schedule": {"kind": "cubic"}}, r"kind=cubic is not possible: choose constant, linear, cosine"),
        ({"clip_schedule": {"final": 0.2}}, r"wapo\.clip_schedule\.kind is not set: choose constant, linear, cosine"),
        ({"clip_schedule": {"kind": "linear"}}, r"a linear schedule needs `final`, the last step's clip_ratio_high"),
        ({"clip_schedule": {"kind": "linear", "final": 0}}, r"final must be a finite number above 0, not 0"),
        ({"clip_schedule": {"kind": "linear", "final": "low"}}, r"final must be a finite number above 0, not 'low'"),
        ({"clip_schedule": {"kind": "linear", "end": 1}}, r"clip_schedule\.end is not a key .*there are kind, final"),
        ({"guard": "stop"}, r"wapo\.guard=stop is no group of keys: set \+wapo\.guard\.action=\.\.\."),
        ({"guard": {"patience": 3}}, r"wapo\.guard\.action is not set: choose warn, stop, rollback"),
        ({"guard": {"action": "halt"}}, r"wapo\.guard\.action=halt is not possible: choose warn, stop, rollback"),
        ({"guard": {"action": "warn", "patients": 3}}, r"wapo\.guard\.patients is not .*did you mean wapo\.guard\.pat"),
        ({"guard": {"action": "warn", "patience": 0}}, r"patience must be a whole number of at least 1, not 0"),
        ({"guard": {"action": "warn", "patience": 2.5}}, r"patience must be a whole number of at least 1, not 2\.5"),
        ({"guard": {"action": "warn", "confirm": "soon"}}, r"confirm must be a whole number of at least 1, not 'soon'"),
        ({"guard": {"action": "warn", "silent": ["entropy"]}}, r"wapo\.guard\.silent: there is no rule 'entropy'"),
        ({"guard": {"action": "warn", "silent": 3}}, r"wapo\.guard\.silent must be a list such as \[a,b\], not 3"),
        ({"guard": {"action": "warn", "entropy_floor": 1.5}}, r"entropy_floor=1\.5 and entropy_ceiling=3\.0 are mult"),
        ({"guard": {"action": "warn", "grad_norm_factor": "high"}}, r"grad_norm_factor must be a finite number"),
        ({"guard": rollback(lr_factor=0)}, r"on_rollback\.lr_factor must be .*above 0 and of at most 1, not 0"),
        ({"guard": rollback(lr_factor=1.5)}, r"lr_factor must be .* of at most 1, not 1\.5"),
        ({"guard": rollback(lr_facter=0.5)}, r"on_rollback\.lr_facter is not .*did you mean .*on_rollback\.lr_factor"),
        ({"guard": rollback()}, r"wapo\.guard\.on_rollback\.lr_factor is not set: give a number above 0"),
        ({"guard": {**rollback(lr_factor=0.5), "action": "stop"}}, r"on_rollback has no effect with action=stop: set"),
        ({"failures": 0.01}, r"wapo\.failures=0\.01 is no group of keys: set \+wapo\.failures\.budget=\.\.\."),
        (
            {"failures": {"budget": -0.1}},
            r"budget must be a finite .* at least 0.* and of at most 0\.5, not -0",
        ),
        (
            {"failures": {"budget": 1.0}},
            r"budget must be a finite .* at least 0.* and of at most 0\.5, not 1",
        ),
        ({"search_agent": "world"}, r"set \+wapo\.search_agent\.index=\.\.\."),
        (
            {"search_agent": {"top_k": 3}},
            r"index is not set: .*\+wapo\.search_agent\.index=PATH.*index build",
        ),
        ({"search_agent": {**INDEX, "topk": 2}}, r"wapo\.search_agent\.topk is not a key .*: did you mean .*\.top_k\?"),
        ({"search_agent": {**INDEX, "max_turns": 2}}, "set actor_rollout_ref.rollout.multi_turn.max_assistant_turns"),
        ({"search_agent": {**INDEX, "top_k": 0}}, "top_k must be a whole number of at least 1, not 0"),
        ({"search_agent": {**INDEX, "top_k": "3"}}, "top_k must be a whole number of at least 1, not '3'"),
        (
            {"search_agent": {**INDEX, "announce_budget": "yes"}},
            "announce_budget=yes is not possible: choose true",
        ),
        ({"search_agent": {**INDEX, "timeout_s": 0}}, "timeout_s must be a finite number above 0, not 0"),
        ({"search_agent": {**INDEX, "deadline_s": "soon"}}, "deadline_s must be a finite number above 0, not 'soon'"),
        ({"search_agent": {**INDEX, "cached_queries": -1}}, "cached_queries must be a whole number of at least 0"),
        ({"search_agent": {**INDEX, "retries": -1}}, "retries must be a whole number of at least 0, not -1"),
        (
            {"search_agent": {"index": "ftp://host/x"}},
            r"search_agent\.index: an index is a folder, or http://host:port",
        ),
        ({"search_agent": {"index": ["http://a:1", "folder"]}}, "must all begin with http"),
        ({"search_agent": {**INDEX, "corpus_hash": {"train": "ab"}}}, "index is one address: give one hash"),
    ],
    ids=str,
)
def test_each_mistake_is_named_with_what_to_do(wapo: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        keys(wapo)


def test_several_mistakes_are_named_at_once_the_misspelt_keys_first() -> None:
    with pytest.raises(SettingsError) as error:
        keys({"guard": {"actoin": "warn"}, "winners_only": 3})
    parts = str(error.value).split("; ")
    assert parts[0] == "wapo.guard.actoin is not a key of this project: did you mean wapo.guard.action?"
    assert len(parts) == 3


def test_an_option_belongs_to_its_algorithm() -> None:
    config = OmegaConf.create({"algorithm": {"adv_estimator": "cpgd"}, "wapo": {"group_weight": "clip_filter"}})
    assert read(config, ALGORITHMS["cpgd"])[1] == {"group_weight": "clip_filter"}
    with pytest.raises(SettingsError, match=r"an option of wapo, and algorithm\.adv_estimator is grpo: leave"):
        keys({"advantage": "group_std"}, estimator="grpo")
