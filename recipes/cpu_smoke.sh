# What every benchmark's CPU smoke run shares; sourced after common.sh. A tiny random model is trained for STEPS steps on the
# benchmark's own rows, through the very command, agent loop and reward that train a real model. Nothing is learnt: what
# it shows is that every piece works on real rows.
#
# The model writes random tokens, which now and then make an answer, never a right one; so that some batches have a winner
# and take a step, a well-formed answer earns FORMAT_WEIGHT here, beside 1 for a right one.
#
# Knobs: ADV_ESTIMATOR, STEPS, PROMPTS_PER_BATCH, PROMPTS_PER_MINI_BATCH, GROUP_SIZE, MAX_PROMPT_LENGTH, MAX_RESPONSE_LENGTH,
# VOCABULARY, FORMAT_WEIGHT, LR, LOGGER.

ADV_ESTIMATOR="${ADV_ESTIMATOR:-wapo}"
STEPS="${STEPS:-3}"
PROMPTS_PER_BATCH="${PROMPTS_PER_BATCH:-16}"
# One mini-batch: training/rollout_probs_diff_* is then the gap of engine and actor, with no update in between.
PROMPTS_PER_MINI_BATCH="${PROMPTS_PER_MINI_BATCH:-$PROMPTS_PER_BATCH}"
GROUP_SIZE="${GROUP_SIZE:-8}"
MAX_PROMPT_LENGTH="${MAX_PROMPT_LENGTH:-768}"
MAX_RESPONSE_LENGTH="${MAX_RESPONSE_LENGTH:-1024}"
VOCABULARY="${VOCABULARY:-384}"
FORMAT_WEIGHT="${FORMAT_WEIGHT:-0.1}"
LR="${LR:-1e-3}"
LOGGER="${LOGGER:-[console,tensorboard]}"

# random_model OUT ROWS [--tag TEXT]...: a tiny random model whose tokenizer has seen the rows.
random_model() {
    say "tiny random model for real text in $1"
    PYTHONPATH="$ROOT" "$PYTHON" -m examples.quickstart.real_text_model "$@" --vocabulary "$VOCABULARY"
}

# What a random model can hit upon as one token, so that every step has well-formed answers among its episodes: an answer
# in an episode that searches, and in mathematics the end of the reasoning with an answer line.
SEARCH_TAGS=(--tag "<answer>nothing</answer>")
MATH_TAGS=(--tag $'</think>\nAnswer: ')

# smoke_settings OUT ROWS CORRECT: fill SETTINGS; CORRECT is the reward part that weighs 1.
smoke_settings() {
    local out="$1" rows="$2" correct="$3"
    SETTINGS=(
        algorithm.adv_estimator="$ADV_ESTIMATOR"
        data.train_files="$rows"
        data.val_files="$rows"
        data.train_batch_size="$PROMPTS_PER_BATCH"
        data.max_prompt_length="$MAX_PROMPT_LENGTH"
        data.max_response_length="$MAX_RESPONSE_LENGTH"
        data.filter_overlong_prompts=True
        reward.custom_reward_function.path=pkg://wapo_verl.reward
        +reward.custom_reward_function.reward_kwargs.weights."$correct"=1.0
        +reward.custom_reward_function.reward_kwargs.weights.format="$FORMAT_WEIGHT"
        actor_rollout_ref.rollout.n="$GROUP_SIZE"
        actor_rollout_ref.rollout.max_model_len="$((MAX_PROMPT_LENGTH + MAX_RESPONSE_LENGTH))"
        actor_rollout_ref.model.path="$out/model"
        actor_rollout_ref.actor.ppo_mini_batch_size="$PROMPTS_PER_MINI_BATCH"
        actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=16
        actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=16
        actor_rollout_ref.actor.optim.lr="$LR"
        trainer.total_training_steps="$STEPS"
        trainer.val_before_train=False
        trainer.save_freq=-1
        trainer.test_freq=-1
        trainer.resume_mode=disable
        trainer.project_name=wapo-verl
        trainer.default_local_dir="$out/checkpoints"
        trainer.rollout_data_dir="$out/rollouts"
        trainer.logger="$LOGGER"
        +ray_kwargs.ray_init.runtime_env.env_vars.TENSORBOARD_DIR="$out/tensorboard"
        hydra.run.dir="$out/hydra"
        "${RAY_SETTINGS[@]}"
    )
    rm -rf "$out/rollouts"
    say "$STEPS steps of $ADV_ESTIMATOR; every episode becomes a line of $out/rollouts/STEP.jsonl"
}

# search_rows ENVIRONMENT OUT SOURCE SPLIT...: prepare_rows, for prompts that say how many turns there are.
search_rows() {
    ROW_OPTIONS+=(--set max_turns="${MAX_TURNS:-10}")
    prepare_rows "$@"
}

# smoke_search_settings INDEX: add what episodes that search need.
smoke_search_settings() {
    SETTINGS+=(
        +wapo.search_agent.index="$1"
        +wapo.search_agent.top_k="${TOP_K:-3}"
        +wapo.search_agent.passage_tokens="${PASSAGE_TOKENS:-96}"
        +wapo.search_agent.max_turn_tokens="${MAX_TURN_TOKENS:-192}"
        actor_rollout_ref.rollout.multi_turn.max_assistant_turns="${MAX_TURNS:-10}"
    )
}
