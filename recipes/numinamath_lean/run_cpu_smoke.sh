#!/usr/bin/env bash
# NuminaMath-LEAN on a CPU: filters and splits its rows as for a real run, and trains a tiny random model on them for some
# steps. Without NUMINAMATH_LEAN it takes the few rows in the data set's schema that the package has. What is shown, and
# what is not: recipes/cpu_smoke.sh.
#
# Knobs: NUMINAMATH_LEAN (a folder, or hub), OUT, those of recipes/cpu_smoke.sh and of recipes/common.sh. Further veRL
# settings follow as arguments.

MAX_RESPONSE_LENGTH="${MAX_RESPONSE_LENGTH:-256}"
PROMPTS_PER_BATCH="${PROMPTS_PER_BATCH:-4}" # the package's rows are few
GROUP_SIZE="${GROUP_SIZE:-32}"

source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../cpu_smoke.sh"

NUMINAMATH_LEAN="${NUMINAMATH_LEAN:-$ROOT/envs/numinamath_lean/sample}"
if ! is_on_the_hub "$NUMINAMATH_LEAN" && [[ ! -e "$NUMINAMATH_LEAN" ]]; then
    stop "NUMINAMATH_LEAN=$NUMINAMATH_LEAN is not there: set it to hub, or to a folder with the files of" \
        "https://huggingface.co/datasets/AI-MO/NuminaMath-LEAN"
fi
OUT="$(realpath -m "${OUT:-runs/numinamath-lean-cpu-smoke}")"

prepare_rows numinamath_lean "$OUT/data" "$NUMINAMATH_LEAN" train test
random_model "$OUT/model" "$OUT/data/train.parquet" "${MATH_TAGS[@]}"
smoke_settings "$OUT" "$OUT/data/train.parquet" correct

"$PYTHON" -m verl.trainer.main_ppo \
    "${SETTINGS[@]}" \
    trainer.experiment_name=numinamath-lean-cpu-smoke \
    "$@"
