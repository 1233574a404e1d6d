#!/usr/bin/env bash
# What a quickstart run gained: its model before training and its last checkpoint are evaluated on its held-out questions
# and compared. Writes OUT/comparison.md, .json and .png (docs/evaluation.md shows them), and resumes where it was stopped.
#
#   python -m examples.quickstart --out runs/gain trainer.save_freq=40 && bash benchmarks/gain.sh runs/gain
#
# Knobs: PYTHON, SAMPLES (4), OUT (RUN/gain).

set -euo pipefail
run="$1"
PYTHON="${PYTHON:-python}"
OUT="${OUT:-$run/gain}"
last="$run/checkpoints/global_step_$(<"$run/checkpoints/latest_checkpointed_iteration.txt")"
for model in "$run/model" "$last"; do
    "$PYTHON" -m wapo_verl.cli eval miniwiki="$run/data/test.parquet" --index "$run/index/test" --model "$model" \
        --samples "${SAMPLES:-4}" --out "$OUT/$(basename "$model")"
done
"$PYTHON" -m wapo_verl.cli compare "$OUT/model" "$OUT/$(basename "$last")" --k 1,4 --out "$OUT"
