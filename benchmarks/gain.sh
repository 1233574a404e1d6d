#!/usr/bin/env bash
# What a quickstart run gained: its model before training and its checkpoints are evaluated on its held-out questions and
# compared. Writes OUT/comparison.md, .json and .png (docs/evaluation.md shows them), and resumes where it was stopped.
#
#   python -m examples.quickstart --out runs/gain trainer.save_freq=20 && bash benchmarks/gain.sh runs/gain
#
# Knobs: PYTHON, SAMPLES (4), OUT (RUN/evaluations).

set -euo pipefail
run="$1"
PYTHON="${PYTHON:-python}"
OUT="${OUT:-$run/evaluations}"
# As the quickstart plays its episodes.
episodes=(
    data.max_prompt_length=32
    data.max_response_length=128
    actor_rollout_ref.rollout.multi_turn.max_assistant_turns=3
    +wapo.search_agent.max_turn_tokens=8
    +wapo.search_agent.top_k=3
    +wapo.search_agent.passage_tokens=42
)
evaluations=()
for model in "$run/model" $(ls -d "$run"/checkpoints/global_step_* | sort -V); do
    step="${model##*_step_}"
    [[ "$model" == "$run/model" ]] && step=0
    "$PYTHON" -m wapo_verl.cli eval miniwiki="$run/data/test.parquet" --index "$run/index/test" --model "$model" \
        --samples "${SAMPLES:-4}" --out "$OUT/step_$step" "${episodes[@]}"
    evaluations+=("$OUT/step_$step")
done
"$PYTHON" -m wapo_verl.cli compare "${evaluations[@]}" --k 1,4 --out "$OUT"
