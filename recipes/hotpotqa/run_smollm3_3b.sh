#!/usr/bin/env bash
# SmolLM3-3B on HotpotQA with the published settings of WAPO. NOT YET RUN ON A GPU: a test composes these settings on
# veRL's own configuration and validates them, nothing more. Says nothing about the score that comes out.
#
# Computed, not measured: memory of a GPU, and time if every completion has full length, searches aside (ESTIMATE=h100 as a
# knob computes it again):
#   8 h100: 14.6 GiB in an update, 48.0 GiB in the rollout, 22 h for 1,000 steps
#   ONE_GPU=80, h100: 24.8 GiB in an update, 48.0 GiB in the rollout, 152 h for 1,000 steps
#   ONE_GPU=24, rtx4090: 18.6 GiB in an update, 14.4 GiB in the rollout, 931 h for 1,000 steps
#
# HOTPOTQA_DIR must hold the questions (the official JSON files, or the parquet files of hotpotqa/hotpot_qa), ABSTRACTS the
# 5.2 million abstracts of 2017's Wikipedia: the archive (.tar.bz2) or its unpacked folder. The first start indexes them (1.8
# GB on disk were seen for a corpus of that size); a second start resumes from the last checkpoint.
#
# Knobs: HOTPOTQA_DIR, ABSTRACTS, OUT, INDEX, MODEL, those of recipes/published.sh and published_qa.sh (ADV_ESTIMATOR,
# N_GPUS_PER_NODE, STEPS, LOGGER, ...) and of recipes/common.sh (NNODES, RAY_ADDRESS). Further veRL settings
# follow as arguments.

source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../published_qa.sh"

HOTPOTQA_DIR="${HOTPOTQA_DIR:-data/hotpotqa}"
ABSTRACTS="${ABSTRACTS:-$HOTPOTQA_DIR/enwiki-20171001-pages-meta-current-withlinks-abstracts.tar.bz2}"
missing() {
    stop "$1 is not there: download the questions (train, dev) and the Wikipedia abstracts from https://hotpotqa.github.io," \
        "and set HOTPOTQA_DIR to the questions' folder (or to hub), ABSTRACTS to the archive"
}
is_on_the_hub "$HOTPOTQA_DIR" || is_there "$HOTPOTQA_DIR" || missing "$HOTPOTQA_DIR"
INDEX="${INDEX:-runs/hotpotqa-index}"
is_address "$INDEX" || is_there "$ABSTRACTS" || missing "$ABSTRACTS"

MODEL="${MODEL:-HuggingFaceTB/SmolLM3-3B}"
OUT="$(realpath -m "${OUT:-runs/hotpotqa-smollm3-3b-$ADV_ESTIMATOR}")"

if ! is_address "$INDEX"; then
    INDEX="$(realpath -m "$INDEX")"
    build_index "$INDEX" hotpotqa-abstracts "$ABSTRACTS"
fi
prepare_rows hotpotqa "$OUT/data" "$HOTPOTQA_DIR" train dev
published_qa_settings "$OUT" "$INDEX"

"$PYTHON" -m verl.trainer.main_ppo \
    "${SETTINGS[@]}" \
    actor_rollout_ref.model.path="$MODEL" \
    data.train_files="$OUT/data/train.parquet" \
    data.val_files="$OUT/data/dev.parquet" \
    trainer.project_name=wapo-verl-hotpotqa \
    trainer.experiment_name="smollm3-3b-$ADV_ESTIMATOR" \
    "$@"
