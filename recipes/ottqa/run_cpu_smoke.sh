#!/usr/bin/env bash
# OTT-QA on a CPU: indexes its documents, prepares its dev questions and trains a tiny random model for some steps. Takes a
# few minutes on two cores. What is shown, and what is not: recipes/cpu_smoke.sh.
#
# Knobs: OTTQA_DIR, OUT, SPLIT, MAX_TURNS, MAX_TURN_TOKENS, TOP_K, PASSAGE_TOKENS, those of recipes/cpu_smoke.sh and of
# recipes/common.sh. Further veRL settings follow as arguments.

if [[ -z "${OTTQA_DIR:-}" ]]; then # the package's rows are few
    PROMPTS_PER_BATCH="${PROMPTS_PER_BATCH:-2}"
    GROUP_SIZE="${GROUP_SIZE:-64}"
fi

source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../cpu_smoke.sh"
OTTQA_DIR="${OTTQA_DIR:-$ROOT/envs/ottqa/sample}"
source "$(dirname "${BASH_SOURCE[0]}")/ottqa.sh"

OUT="$(realpath -m "${OUT:-runs/ottqa-cpu-smoke}")"
SPLIT="${SPLIT:-dev}"

build_index "$OUT/index" ottqa "$OTTQA_DIR"
search_rows ottqa "$OUT/data" "$OTTQA_DIR" "$SPLIT"
random_model "$OUT/model" "$OUT/data/$SPLIT.parquet" "${SEARCH_TAGS[@]}"
smoke_settings "$OUT" "$OUT/data/$SPLIT.parquet" exact_match
smoke_search_settings "$OUT/index"

"$PYTHON" -m verl.trainer.main_ppo \
    "${SETTINGS[@]}" \
    trainer.experiment_name=ottqa-cpu-smoke \
    "$@"
