#!/usr/bin/env bash
# Qwen2.5-Math-1.5B-Instruct on MATH, tested on MATH-500, with the published settings of WAPO. NOT YET RUN ON A GPU: a test
# composes these settings on veRL's own configuration and validates them, nothing more. Says nothing about
# the score that comes out.
#
# Computed, not measured: memory of a GPU, and time if every completion has full length, searches aside (ESTIMATE=h100 as a
# knob computes it again):
#   8 h100: 13.7 GiB in an update, 48.0 GiB in the rollout, 1 h for 500 steps
#   ONE_GPU=80, h100: 18.8 GiB in an update, 48.0 GiB in the rollout, 5 h for 500 steps
#   ONE_GPU=24, rtx4090: 8.4 GiB in an update, 14.4 GiB in the rollout, 24 h for 500 steps
#
# MATH_DIR must hold MATH's training problems (the unpacked archive: train/SUBJECT/N.json, or parquet or JSON lines with
# problem and solution); MATH500 is MATH-500's folder or a data set on the hub. Problems of MATH-500 that MATH_DIR has too
# are left out of training. A second start resumes from the last checkpoint.
#
# Knobs: MATH_DIR, MATH500, OUT, MODEL, those of recipes/published.sh and published_math.sh (ADV_ESTIMATOR, N_GPUS_PER_NODE,
# STEPS, LOGGER, ...) and of recipes/common.sh (NNODES, RAY_ADDRESS). Further veRL settings follow as arguments.

MAX_LENGTH="${MAX_LENGTH:-4096}" # the model's own limit as well
MAX_RESPONSE_LENGTH="${MAX_RESPONSE_LENGTH:-2048}"

source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../published_math.sh"

MATH_DIR="${MATH_DIR:-data/MATH}"
MATH500="${MATH500:-hf://HuggingFaceH4/MATH-500}"
missing() {
    stop "$1 is not there: download MATH (https://github.com/hendrycks/math), and set MATH_DIR to its folder; MATH500 to a" \
        "folder with test.jsonl or to hf://HuggingFaceH4/MATH-500"
}
is_on_the_hub "$MATH_DIR" || is_there "$MATH_DIR" || missing "$MATH_DIR"
is_on_the_hub "$MATH500" || is_there "$MATH500" || missing "$MATH500"

MODEL="${MODEL:-Qwen/Qwen2.5-Math-1.5B-Instruct}"
OUT="$(realpath -m "${OUT:-runs/math500-qwen2.5-math-1.5b-$ADV_ESTIMATOR}")"

ROW_OPTIONS=(--set answer_format=boxed)
prepare_rows math500 "$OUT/data" "$MATH500" test
prepare_rows math500 "$OUT/data" "$MATH_DIR" train
published_math_settings "$OUT"

"$PYTHON" -m verl.trainer.main_ppo \
    "${SETTINGS[@]}" \
    actor_rollout_ref.model.path="$MODEL" \
    data.train_files="$OUT/data/train.parquet" \
    data.val_files="$OUT/data/test.parquet" \
    trainer.project_name=wapo-verl-math500 \
    trainer.experiment_name="qwen2.5-math-1.5b-$ADV_ESTIMATOR" \
    "$@"
