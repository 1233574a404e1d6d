#!/usr/bin/env bash
# MATH-500 on a CPU: prepares its problems and trains a tiny random model on them for some steps. What is shown, and what is
# not: recipes/cpu_smoke.sh.
#
# Knobs: MATH500 (a folder with test.jsonl, or a data set on the hub), OUT, those of recipes/cpu_smoke.sh and of
# recipes/common.sh. Further veRL settings follow as arguments.

MAX_RESPONSE_LENGTH="${MAX_RESPONSE_LENGTH:-256}"

if [[ -z "${MATH500:-}" ]]; then # the package's rows are few
    PROMPTS_PER_BATCH="${PROMPTS_PER_BATCH:-4}"
    GROUP_SIZE="${GROUP_SIZE:-32}"
fi

source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../cpu_smoke.sh"

MATH500="${MATH500:-$ROOT/envs/math500/sample}"
if ! is_on_the_hub "$MATH500" && [[ ! -e "$MATH500" ]]; then
    stop "MATH500=$MATH500 is not there: set it to hf://HuggingFaceH4/MATH-500, or download test.jsonl from" \
        "https://huggingface.co/datasets/HuggingFaceH4/MATH-500 and set MATH500 to its folder"
fi
OUT="$(realpath -m "${OUT:-runs/math500-cpu-smoke}")"

prepare_rows math500 "$OUT/data" "$MATH500" test
random_model "$OUT/model" "$OUT/data/test.parquet" "${MATH_TAGS[@]}"
smoke_settings "$OUT" "$OUT/data/test.parquet" correct

"$PYTHON" -m verl.trainer.main_ppo \
    "${SETTINGS[@]}" \
    trainer.experiment_name=math500-cpu-smoke \
    "$@"
