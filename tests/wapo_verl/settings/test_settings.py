"""Settings resolved on veRL's real, composed configuration. No GPU, no Ray."""

import io
from pathlib import Path

import pytest
import verl.trainer.config
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from support.hydra_runs import compose_run

from wapo_verl.algorithms import ALGORITHMS
from wapo_verl.rollout.seeds import SEED
from wapo_verl.settings import run
from wapo_verl.settings.defaults import ResolvedKey, apply_defaults
from wapo_verl.settings.explicit_keys import explicit_keys, is_explicit, override_keys
from wapo_verl.settings.keys import SettingsError
from wapo_verl.training.decisions import Decisions

PACKAGED = str(Path(verl.trainer.config.__file__).parent)
ACTOR = "actor_rollout_ref.actor"
ROLLOUT = "actor_rollout_ref.rollout"
BYPASS = "algorithm.rollout_correction.bypass_mode"
WAPO = "algorithm.adv_estimator=wapo"
MANAGER = f"{ROLLOUT}.agent.agent_loop_manager_class"


@pytest.fixture(autouse=True)
def _gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with a GPU, so that nothing of the CPU's is set."""
    monkeypatch.setenv("VERL_PLATFORM", "nvidia")


def composed(
    *overrides: str, directory: str = PACKAGED, name: str = "ppo_trainer", command_line: bool = True
) -> DictConfig:
    """Compose a run's configuration; with `command_line`, leave Hydra as `main_ppo` finds it."""
    return compose_run(*overrides, directory=directory, name=name, command_line=command_line)


def applied(*overrides: str) -> tuple[DictConfig, dict[str, ResolvedKey], str]:
    config = composed(*overrides)
    out = io.StringIO()
    resolved = run.apply(config, Console(file=out, width=160))
    return config, {entry.key: entry for entry in resolved if entry.key != MANAGER}, out.getvalue()


def test_the_estimator_alone_gives_the_whole_objective() -> None:
    config, resolved, printed = applied(WAPO, "data.max_prompt_length=100", "data.max_response_length=900")
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    assert actor.policy_loss.loss_mode == "wapo"
    assert actor.clip_ratio_high == 9.0
    assert (actor.loss_agg_mode, actor.loss_scale_factor) == ("seq-mean-token-sum-norm", 1000)
    assert actor.calculate_entropy
    assert config.algorithm.rollout_correction.bypass_mode
    assert not config.algorithm.norm_adv_by_std_in_grpo
    assert (rollout.calculate_log_probs, rollout.n, actor.rollout_n) == (True, 8, 8)
    assert {entry.origin for entry in resolved.values()} == {"wapo"}
    assert len([line for line in printed.splitlines() if "wapo" in line]) >= len(resolved)
    assert "warning" not in printed


def test_verls_dataclasses_take_what_was_resolved() -> None:
    from verl.utils.config import omega_conf_to_dataclass

    config, _, _ = applied(WAPO, f"{ACTOR}.ppo_micro_batch_size_per_gpu=1")
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    assert (actor.policy_loss.loss_mode, actor.loss_scale_factor, actor.clip_ratio_high) == ("wapo", 1024, 9.0)
    assert omega_conf_to_dataclass(config.algorithm).rollout_correction["bypass_mode"]


def test_the_rollouts_own_length_wins_over_the_datas() -> None:
    config, _, _ = applied(WAPO, f"{ROLLOUT}.response_length=30", f"{ROLLOUT}.prompt_length=10")
    assert config.actor_rollout_ref.actor.loss_scale_factor == 40


def test_what_the_user_set_wins_even_where_it_equals_verls_default() -> None:
    config, resolved, printed = applied(WAPO, f"{ACTOR}.clip_ratio_high=0.2", f"{BYPASS}=false", f"{ROLLOUT}.n=4")
    assert config.actor_rollout_ref.actor.clip_ratio_high == 0.2
    assert config.algorithm.rollout_correction.bypass_mode is False
    assert config.actor_rollout_ref.rollout.n == 4
    assert resolved[f"{ACTOR}.clip_ratio_high"] == ResolvedKey(
        f"{ACTOR}.clip_ratio_high", 0.2, "user", "wapo would set 9.0"
    )
    assert "recomputed log-probs" in printed


def test_a_users_own_config_file_counts_as_explicit(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "defaults: [ppo_trainer, _self_]\n"
        f"hydra: {{searchpath: ['file://{PACKAGED}']}}\n"
        "algorithm: {adv_estimator: wapo, rollout_correction: {bypass_mode: false}}\n"
    )
    config = composed(directory=str(tmp_path), name="mine")
    explicit = explicit_keys(config)
    assert {BYPASS, "algorithm.adv_estimator"} <= explicit
    run.apply(config, Console(file=io.StringIO()))
    assert config.algorithm.rollout_correction.bypass_mode is False


def test_a_config_made_in_python_counts_by_its_differences() -> None:
    config = composed(WAPO, f"{ACTOR}.clip_ratio_high=4.0", command_line=False)
    OmegaConf.resolve(config)
    explicit = explicit_keys(config)
    assert {"algorithm.adv_estimator", f"{ACTOR}.clip_ratio_high"} <= explicit
    assert not is_explicit(f"{ACTOR}.policy_loss.loss_mode", explicit)


def test_an_untouched_configuration_has_no_explicit_key() -> None:
    assert {key for key in explicit_keys(composed()) if not key.startswith("model_engine")} == set()


def test_other_estimators_are_left_alone() -> None:
    config = composed("algorithm.adv_estimator=grpo")
    before = OmegaConf.to_container(config)
    assert run.apply(config, Console(file=io.StringIO())) == []
    assert OmegaConf.to_container(config) == before


def test_further_defaults_are_set_where_the_user_set_nothing() -> None:
    further = {
        "trainer.device": "cpu",
        f"{ACTOR}.strategy": "fsdp2",
        "ray_kwargs.ray_init.runtime_env.env_vars.THREADS": lambda config: str(config.trainer.nnodes),
    }
    config = composed(WAPO, "trainer.device=cuda")
    resolved = {entry.key: entry for entry in apply_defaults(config, further, explicit_keys(config), "the CPU")}
    assert config.trainer.device == "cuda"
    assert config.actor_rollout_ref.actor.strategy == "fsdp2"
    assert config.ray_kwargs.ray_init.runtime_env.env_vars.THREADS == "1"
    assert (resolved[f"{ACTOR}.strategy"].origin, resolved["trainer.device"].origin) == ("the CPU", "user")


def test_the_algorithms_default_wins_over_a_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "on_cpu", lambda config: True)
    cpu = {f"{ACTOR}.strategy": "fsdp2", f"{ACTOR}.clip_ratio_high": 1.0}
    monkeypatch.setattr(run, "cpu_defaults", lambda config: cpu)
    config, _, printed = applied(WAPO)
    assert config.actor_rollout_ref.actor.clip_ratio_high == 9.0
    assert f"also set for the CPU: {ACTOR}.strategy=fsdp2" in printed


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("algorithm.norm_adv_by_std_in_grpo=True", "algorithm.norm_adv_by_std_in_grpo"),
        ("algorithm.use_kl_in_reward=True", "algorithm.use_kl_in_reward"),
        (f"{ROLLOUT}.calculate_log_probs=False", f"{ROLLOUT}.calculate_log_probs"),
        ("trainer.use_v1=False", "trainer.use_v1"),
        (f"{ROLLOUT}.n=1", f"{ROLLOUT}.n"),
        (
            "algorithm.rollout_correction={bypass_mode: false, rollout_is: token}",
            "rollout_is and rollout_rs are not computed for this project's algorithms",
        ),
        ("algorithm.rollout_correction.rollout_is=sequence", "WAPO's ratios are a token's, and have one bound"),
        ("algorithm.rollout_correction={rollout_is: token, rollout_is_threshold: 0.5_5.0}", "set rollout_is=token"),
        (f"{ACTOR}.clip_ratio_high=0", f"{ACTOR}.clip_ratio_high"),
        ("+wapo.truncated=cut", "wapo.truncated=cut is not possible: choose keep, zero, drop"),
    ],
)
def test_a_contradiction_is_an_error_that_names_the_key(override: str, key: str) -> None:
    with pytest.raises(SettingsError, match=key):
        applied(WAPO, override)


def test_a_switch_that_an_algorithm_does_not_read_is_an_error() -> None:
    off = "algorithm.norm_adv_by_std_in_grpo=False"
    with pytest.raises(SettingsError, match=r"divides by the group's standard deviation all the same; dr_grpo"):
        applied("algorithm.adv_estimator=dapo", off)
    applied("algorithm.adv_estimator=dr_dapo", off)


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_one_setting_brings_every_algorithms_parts_and_the_table_shows_them(name: str) -> None:
    config, resolved, printed = applied(f"algorithm.adv_estimator={name}")
    found = ALGORITHMS[name]
    for key, default in found.defaults.items():
        assert resolved[key].origin == name
        assert OmegaConf.select(config, key) == (default(config) if callable(default) else default)
        assert key in printed
    assert "warning" not in printed


def test_a_drift_whose_ratio_cannot_count_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"clip_ratio_c: the drift's ratio counts up to this"):
        applied("algorithm.adv_estimator=cpgd", f"{ACTOR}.clip_ratio_c=1.0")


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_no_algorithm_takes_what_contradicts_them_all(name: str) -> None:
    for override in ("algorithm.use_kl_in_reward=True", f"{ROLLOUT}.calculate_log_probs=False", f"{ROLLOUT}.n=1"):
        with pytest.raises(SettingsError, match=override.split("=")[0]):
            applied(f"algorithm.adv_estimator={name}", override)


def test_a_baseline_with_another_loss_is_told_so() -> None:
    _, _, printed = applied("algorithm.adv_estimator=dapo", f"{ACTOR}.loss_agg_mode=token-mean")
    assert "the algorithm is defined with seq-mean-token-sum-norm" in printed


def test_prompts_are_read_whole_on_a_cpu_where_completions_have_seeds() -> None:
    """veRL's own default asks for them too, which on a CPU is replaced in silence."""
    parts = f"{ROLLOUT}.enable_chunked_prefill"
    assert applied(WAPO, "trainer.device=cpu")[0].actor_rollout_ref.rollout.enable_chunked_prefill is False
    with pytest.raises(SettingsError, match=f"{parts}=True: ends vLLM's CPU build .* leave it out"):
        applied(WAPO, "trainer.device=cpu", f"{parts}=True", "+wapo.seeded_sampling=true")
    assert OmegaConf.select(applied(WAPO, "trainer.device=cpu", f"{parts}=True")[0], SEED) is None


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (f"{ACTOR}.policy_loss.loss_mode=vanilla", "this is not WAPO's loss"),
        (f"{ACTOR}.loss_agg_mode=token-mean", "another step size"),
        (f"{ACTOR}.loss_scale_factor=null", "depends on the split"),
        (f"{ACTOR}.entropy_coeff=0.01", "entropy bonus"),
        (f"{ACTOR}.use_kl_loss=True", "KL loss"),
        ("algorithm.rollout_correction.rollout_rs=token_k1", "no effect in bypass mode"),
        ("algorithm.rollout_correction=null", "recomputed log-probs"),
    ],
)
def test_a_doubtful_setting_is_a_warning_that_says_why(override: str, words: str) -> None:
    assert words in applied(WAPO, override)[2]


def test_one_key_asks_for_truncated_importance_sampling() -> None:
    """veRL's own key; its bound becomes the loss's, and what the user sets himself stays."""
    truncate = "algorithm.rollout_correction.rollout_is=token"
    config, _, printed = applied(WAPO, truncate)
    actor = config.actor_rollout_ref.actor
    assert (actor.policy_loss.loss_mode, actor.clip_ratio_high) == ("wapo_truncated", 1.0)
    assert "warning" not in printed
    config, _, _ = applied(WAPO, truncate, "algorithm.rollout_correction.rollout_is_threshold=5.0")
    assert config.actor_rollout_ref.actor.clip_ratio_high == 4.0
    config, _, printed = applied(WAPO, truncate, f"{ACTOR}.policy_loss.loss_mode=wapo")
    assert config.actor_rollout_ref.actor.policy_loss.loss_mode == "wapo"
    assert "no effect in bypass mode; WAPO's loss wapo_truncated" in printed
    assert "no effect in bypass mode" in applied("algorithm.adv_estimator=grpo_ref", truncate)[2]


def test_wapos_own_keys_need_no_place_in_verls_config() -> None:
    config, resolved, _ = applied(WAPO, "+wapo.truncated=drop")
    assert Decisions.of(config).options == {"truncated": "drop", "advantage": "none", "averaging": "own"}
    assert resolved["wapo.truncated"].origin == "user"


def test_overrides_are_read_as_hydra_reads_them() -> None:
    overrides = ["a.b=1", "+c.d={e: 2, f: {g: 3}}", "~h.i", "++j=[1,2]", "model@critic.model=hf_model", "k={}"]
    assert override_keys(overrides) == {"a.b", "c.d.e", "c.d.f.g", "h.i", "j"}
