#!/usr/bin/env bash
# SmolLM3-3B on NuminaMath-LEAN with the published settings of WAPO. NOT YET RUN ON A GPU: a test composes these settings on
# veRL's own configuration and validates them, nothing more. Says nothing about the score that comes out.
#
# Computed, not measured: memory of a GPU, and time if every completion has full length, searches aside (ESTIMATE=h100 as a
# knob computes it again):
#   8 h100: 14.6 GiB in an update, 48.0 GiB in the rollout, 5 h for 500 steps
#   ONE_GPU=80, h100: 24.8 GiB in an update, 48.0 GiB in the rollout, 27 h for 500 steps
#   ONE_GPU=24, rtx4090: 15.9 GiB in an update, 14.4 GiB in the rollout, 164 h for 500 steps
#
# NUMINAMATH_LEAN is the data set on the hub (hub, hub@revision) or a folder with its parquet files. 1,000 of the rows whose
# answer is a number are held out to test on, the same as in the published runs. A second start resumes from the last checkpoint.
#
# Knobs: NUMINAMATH_LEAN, OUT, MODEL, those of recipes/published.sh and published_math.sh (ADV_ESTIMATOR, N_GPUS_PER_NODE, STEPS,
# LOGGER, ...) and of recipes/common.sh (NNODES, RAY_ADDRESS). Further veRL settings follow as arguments.

MAX_LENGTH="${MAX_LENGTH:-8192}"
MAX_RESPONSE_LENGTH="${MAX_RESPONSE_LENGTH:-4096}"

source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../published_math.sh"

NUMINAMATH_LEAN="${NUMINAMATH_LEAN:-hub}"
if ! is_on_the_hub "$NUMINAMATH_LEAN" && ! is_there "$NUMINAMATH_LEAN"; then
    stop "$NUMINAMATH_LEAN is not there: set NUMINAMATH_LEAN to hub, or to a folder with the files of" \
        "https://huggingface.co/datasets/AI-MO/NuminaMath-LEAN"
fi

MODEL="${MODEL:-HuggingFaceTB/SmolLM3-3B}"
OUT="$(realpath -m "${OUT:-runs/numinamath-lean-smollm3-3b-$ADV_ESTIMATOR}")"

ROW_OPTIONS+=(--set published_split=true)
prepare_rows numinamath_lean "$OUT/data" "$NUMINAMATH_LEAN" train test
published_math_settings "$OUT"

"$PYTHON" -m verl.trainer.main_ppo \
    "${SETTINGS[@]}" \
    actor_rollout_ref.model.path="$MODEL" \
    data.train_files="$OUT/data/train.parquet" \
    data.val_files="$OUT/data/test.parquet" \
    trainer.project_name=wapo-verl-numinamath-lean \
    trainer.experiment_name="smollm3-3b-$ADV_ESTIMATOR" \
    "$@"
