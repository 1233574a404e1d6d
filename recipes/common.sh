# What every recipe starts with; sourced, not run. Relative paths are taken from the folder a recipe is started in.
#
# Knobs: PYTHON (default: the checkout's .venv where there is one, else python), NNODES, RAY_ADDRESS and ESTIMATE (below).

set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
if [[ -z "${PYTHON:-}" ]]; then
    PYTHON=python
    if [[ -x "$ROOT/.venv/bin/python" ]]; then PYTHON="$ROOT/.venv/bin/python"; fi
fi

# One line on what comes next.
say() {
    echo "== $*"
}

# stop SENTENCE: end the recipe with its reason.
stop() {
    echo "error: $*" >&2
    exit 1
}

# build_index INDEX CORPUS SOURCE...: index a corpus; nothing is done where INDEX holds it already.
build_index() {
    local index="$1" corpus="$2"
    shift 2
    say "index of $corpus at $index"
    "$PYTHON" -m retrieval_index build "$index" "$@" --corpus "$corpus" --skip-existing
}

# is_address PLACE: whether it is the address of a retrieval service, not a folder.
is_address() {
    [[ "$1" == http://* || "$1" == https://* ]]
}

# is_on_the_hub SOURCE: whether rows come from the Hugging Face hub ("hub", "hub@revision", "hf://owner/name@revision").
is_on_the_hub() {
    [[ "$1" == hub || "$1" == hub@* || "$1" == hf://* ]]
}

# is_there PLACE: whether a file or folder is there. An estimate reads none, so none has to be there.
is_there() {
    [[ -n "${ESTIMATE:-}" || -e "$1" ]]
}

# prepare_rows ENVIRONMENT OUT SOURCE SPLIT...: write veRL's parquet files of an environment, with ROW_OPTIONS where they are
# set. Questions that are tested on are left out of train; their number is in train.manifest.json.
ROW_OPTIONS=()
prepare_rows() {
    local environment="$1" out="$2" source="$3" splits=() split
    shift 3
    for split in "$@"; do splits+=(--split "$split"); done
    say "rows of $environment in $out"
    "$PYTHON" -m wapo_verl.cli prepare "$environment" --source "$source" --out "$out" "${splits[@]}" --drop-overlap "${ROW_OPTIONS[@]}"
}

# Several nodes: start Ray on each of them, then the recipe on one, with RAY_ADDRESS=auto (or the head's address) and
# NNODES set. The folders OUT and the data's must be on storage that every node sees under the same path.
NNODES="${NNODES:-1}"
if [[ "$NNODES" != 1 && -z "${RAY_ADDRESS:-}" ]]; then
    stop "NNODES=$NNODES needs a running Ray cluster: start Ray on every node and set RAY_ADDRESS (auto, on a node of it)"
fi
RAY_SETTINGS=(trainer.nnodes="$NNODES")
if [[ -n "${RAY_ADDRESS:-}" ]]; then RAY_SETTINGS+=(+ray_kwargs.ray_init.address="$RAY_ADDRESS"); fi

# ESTIMATE=h100 (or another GPU of `wapo-verl estimate`): say what memory and time the run would take, and do nothing else.
if [[ -n "${ESTIMATE:-}" ]]; then
    CALCULATOR="$PYTHON"
    estimate_only() {
        if [[ "$2" == verl.trainer.main_ppo ]]; then
            "$CALCULATOR" -m wapo_verl.cli estimate --gpu "$ESTIMATE" -- "${@:3}"
        fi
    }
    PYTHON=estimate_only
    say() { :; }
fi
