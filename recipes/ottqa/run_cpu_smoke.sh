#!/usr/bin/env bash
# Real data on a CPU: indexes OTT-QA's documents, prepares its dev questions and trains a tiny random model for STEPS
# steps of WAPO, through the very command, agent loop and reward that train a real model. Nothing is learnt: what it
# shows is that every piece works on real text. Takes some minutes on two cores.
#
# The model writes random tokens. Now and then they make a search or an answer, never a right one; so that some batches
# have a winner and take a step, a well-formed answer earns FORMAT_WEIGHT here, beside 1 for a right one.
#
# Knobs: OTTQA_DIR, OUT, STEPS, SPLIT, PROMPTS_PER_BATCH, PROMPTS_PER_MINI_BATCH, GROUP_SIZE, VOCABULARY, FORMAT_WEIGHT,
# MAX_TURNS, MAX_TURN_TOKENS, TOP_K, PASSAGE_TOKENS, LR, LOGGER, PYTHON. Further veRL settings follow as arguments.

source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/ottqa.sh"

OUT="$(realpath -m "${OUT:-runs/ottqa-cpu-smoke}")"
STEPS="${STEPS:-3}"
SPLIT="${SPLIT:-dev}"
PROMPTS_PER_BATCH="${PROMPTS_PER_BATCH:-16}"
# One mini-batch: training/rollout_probs_diff_* is then the gap of engine and actor, with no update in between.
PROMPTS_PER_MINI_BATCH="${PROMPTS_PER_MINI_BATCH:-$PROMPTS_PER_BATCH}"
GROUP_SIZE="${GROUP_SIZE:-8}"
VOCABULARY="${VOCABULARY:-384}"
FORMAT_WEIGHT="${FORMAT_WEIGHT:-0.1}"
MAX_TURNS="${MAX_TURNS:-10}"
MAX_TURN_TOKENS="${MAX_TURN_TOKENS:-192}"
TOP_K="${TOP_K:-3}"
PASSAGE_TOKENS="${PASSAGE_TOKENS:-96}"
LR="${LR:-1e-3}"
LOGGER="${LOGGER:-[console,tensorboard]}"

build_index "$OUT/index" ottqa "$OTTQA_DIR"
prepare_rows ottqa "$OUT/data" "$OTTQA_DIR" "$SPLIT"
say "tiny random model for real text in $OUT/model"
"$PYTHON" -m wapo_verl.quickstart.real_text_model "$OUT/model" "$OTTQA_DIR" --vocabulary "$VOCABULARY"
rm -rf "$OUT/rollouts"

say "$STEPS steps of WAPO"
"$PYTHON" -m verl.trainer.main_ppo \
    algorithm.adv_estimator=wapo \
    data.train_files="$OUT/data/$SPLIT.parquet" \
    data.val_files="$OUT/data/$SPLIT.parquet" \
    data.train_batch_size="$PROMPTS_PER_BATCH" \
    data.max_prompt_length=768 \
    data.max_response_length=1024 \
    reward.custom_reward_function.path=pkg://wapo_verl.reward \
    +reward.custom_reward_function.reward_kwargs.weights.exact_match=1.0 \
    +reward.custom_reward_function.reward_kwargs.weights.format="$FORMAT_WEIGHT" \
    +wapo.search_agent.index="$OUT/index" \
    +wapo.search_agent.top_k="$TOP_K" \
    +wapo.search_agent.passage_tokens="$PASSAGE_TOKENS" \
    +wapo.search_agent.max_turn_tokens="$MAX_TURN_TOKENS" \
    actor_rollout_ref.rollout.multi_turn.max_assistant_turns="$MAX_TURNS" \
    actor_rollout_ref.rollout.n="$GROUP_SIZE" \
    actor_rollout_ref.rollout.max_model_len=1792 \
    actor_rollout_ref.model.path="$OUT/model" \
    actor_rollout_ref.actor.ppo_mini_batch_size="$PROMPTS_PER_MINI_BATCH" \
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=16 \
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=16 \
    actor_rollout_ref.actor.optim.lr="$LR" \
    trainer.total_training_steps="$STEPS" \
    trainer.val_before_train=False \
    trainer.save_freq=-1 \
    trainer.test_freq=-1 \
    trainer.resume_mode=disable \
    trainer.project_name=wapo-verl \
    trainer.experiment_name=ottqa-cpu-smoke \
    trainer.default_local_dir="$OUT/checkpoints" \
    trainer.rollout_data_dir="$OUT/rollouts" \
    trainer.logger="$LOGGER" \
    +ray_kwargs.ray_init.runtime_env.env_vars.TENSORBOARD_DIR="$OUT/tensorboard" \
    hydra.run.dir="$OUT/hydra" \
    "${RAY_SETTINGS[@]}" \
    "$@"

say "every episode is a line of $OUT/rollouts/STEP.jsonl"
