#!/usr/bin/env bash
# HotpotQA on a CPU: indexes the paragraphs that come with the questions of a distractor file, prepares those questions and
# trains a tiny random model for some steps. What is shown, and what is not: recipes/cpu_smoke.sh.
#
# Knobs: HOTPOTQA_FILE (a file of distractor rows, official JSON or the hub's schema), OUT, MAX_TURNS, MAX_TURN_TOKENS, TOP_K,
# PASSAGE_TOKENS, those of recipes/cpu_smoke.sh and of recipes/common.sh. Further veRL settings follow as arguments.

if [[ -z "${HOTPOTQA_FILE:-}" ]]; then # the package's rows are few
    PROMPTS_PER_BATCH="${PROMPTS_PER_BATCH:-2}"
    GROUP_SIZE="${GROUP_SIZE:-64}"
fi

source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../cpu_smoke.sh"

HOTPOTQA_FILE="$(realpath -m "${HOTPOTQA_FILE:-$ROOT/envs/hotpotqa/sample/hotpot_dev_distractor_v1.json}")"
if [[ ! -f "$HOTPOTQA_FILE" ]]; then
    stop "HOTPOTQA_FILE=$HOTPOTQA_FILE is not there: download hotpot_dev_distractor_v1.json from https://hotpotqa.github.io" \
        "and set HOTPOTQA_FILE to it"
fi
OUT="$(realpath -m "${OUT:-runs/hotpotqa-cpu-smoke}")"

build_index "$OUT/index" hotpotqa-distractor "$HOTPOTQA_FILE"
search_rows hotpotqa "$OUT/data" "$HOTPOTQA_FILE" dev
random_model "$OUT/model" "$OUT/data/dev.parquet" "${SEARCH_TAGS[@]}"
smoke_settings "$OUT" "$OUT/data/dev.parquet" exact_match
smoke_search_settings "$OUT/index"

"$PYTHON" -m verl.trainer.main_ppo \
    "${SETTINGS[@]}" \
    trainer.experiment_name=hotpotqa-cpu-smoke \
    "$@"
