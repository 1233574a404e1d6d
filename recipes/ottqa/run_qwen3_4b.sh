#!/usr/bin/env bash
# Qwen3-4B on OTT-QA with the published settings of WAPO. NOT YET RUN ON A GPU: a test composes these settings on veRL's
# own configuration and validates them, nothing more. Says nothing about the score that comes out.
#
# Computed, not measured: memory of a GPU, and time if every completion has full length, searches aside (ESTIMATE=h100 as a
# knob computes it again):
#   8 h100: 18.0 GiB in an update, 48.0 GiB in the rollout, 37 h for 1,000 steps
#   ONE_GPU=80, h100: 31.3 GiB in an update, 48.0 GiB in the rollout, 300 h for 1,000 steps
#   ONE_GPU=24, rtx4090: does not fit: 23.8 GiB in an update, 14.4 GiB in the rollout, 2,145 h for 1,000 steps
#
# OTTQA_DIR must hold OTT-QA's passages, tables and questions (train and dev). For the benchmark's own collection use all
# its tables (all_plain_tables.json). The first start indexes them; a second start resumes from the last checkpoint.
#
# Knobs: OTTQA_DIR, OUT, INDEX, MODEL, those of recipes/published.sh and published_qa.sh (ADV_ESTIMATOR, N_GPUS_PER_NODE,
# STEPS, LOGGER, ...) and of recipes/common.sh (NNODES, RAY_ADDRESS). Further veRL settings follow as arguments.

source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../published_qa.sh"
source "$(dirname "${BASH_SOURCE[0]}")/ottqa.sh"

MODEL="${MODEL:-Qwen/Qwen3-4B}"
OUT="$(realpath -m "${OUT:-runs/ottqa-qwen3-4b-$ADV_ESTIMATOR}")"
INDEX="${INDEX:-runs/ottqa-index}"

if ! is_address "$INDEX"; then
    INDEX="$(realpath -m "$INDEX")"
    build_index "$INDEX" ottqa "$OTTQA_DIR"
fi
prepare_rows ottqa "$OUT/data" "$OTTQA_DIR" train dev
published_qa_settings "$OUT" "$INDEX"

"$PYTHON" -m verl.trainer.main_ppo \
    "${SETTINGS[@]}" \
    actor_rollout_ref.model.path="$MODEL" \
    data.train_files="$OUT/data/train.parquet" \
    data.val_files="$OUT/data/dev.parquet" \
    trainer.project_name=wapo-verl-ottqa \
    trainer.experiment_name="qwen3-4b-$ADV_ESTIMATOR" \
    "$@"
