#!/usr/bin/env bash
# One run of the stability study in veRL itself, on a CPU: the world, the tiny model and its warm start are those of
# `python -m benchmarks.study` (and of the quickstart, which this starts with other settings), but Ray, FSDP2 and vLLM do
# the work. Its metrics are in OUT/metrics.jsonl, to be held against the study's record of the same name.
#
# Knobs: ALGORITHM, LEARNING_RATE, OFF_POLICY_STEPS (optimizer mini-batches a step: 1, 2, 4, 8 or 16), SEED, STEPS, OUT,
# and PYTHON. Further veRL settings follow as arguments.

source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

ALGORITHM="${ALGORITHM:-wapo}"
LEARNING_RATE="${LEARNING_RATE:-1e-3}"
OFF_POLICY_STEPS="${OFF_POLICY_STEPS:-1}"
SEED="${SEED:-0}"
STEPS="${STEPS:-40}"
OUT="${OUT:-runs/study-verl/$ALGORITHM-lr$LEARNING_RATE-k$OFF_POLICY_STEPS-seed$SEED}"

PROMPTS=16 # the quickstart's questions a step and completions of each
GROUP_SIZE=8
if [[ ! "$OFF_POLICY_STEPS" =~ ^(1|2|4|8|16)$ ]]; then
    stop "OFF_POLICY_STEPS=$OFF_POLICY_STEPS does not divide the $PROMPTS questions of a step: choose 1, 2, 4, 8 or 16"
fi
PROMPTS_PER_MINI_BATCH=$((PROMPTS / OFF_POLICY_STEPS))

say "$STEPS steps of $ALGORITHM, $OFF_POLICY_STEPS updates each, learning rate $LEARNING_RATE, seed $SEED"
"$PYTHON" -m examples.quickstart --seed "$SEED" --out "$OUT" \
    algorithm.adv_estimator="$ALGORITHM" \
    actor_rollout_ref.actor.optim.lr="$LEARNING_RATE" \
    actor_rollout_ref.actor.ppo_mini_batch_size="$PROMPTS_PER_MINI_BATCH" \
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu="$((PROMPTS_PER_MINI_BATCH * GROUP_SIZE))" \
    trainer.total_training_steps="$STEPS" \
    trainer.experiment_name="study-$ALGORITHM" \
    "${RAY_SETTINGS[@]}" \
    "$@"
