# Where OTT-QA's files are; sourced after common.sh. Knob: OTTQA_DIR.

OTTQA_DIR="$(realpath -m "${OTTQA_DIR:-data/ottqa}")"
if ! is_there "$OTTQA_DIR"; then
    stop "OTTQA_DIR=$OTTQA_DIR is not there: download OTT-QA (https://github.com/wenhuchen/OTT-QA, its README links" \
        "all_passages.json, the tables and released_data) into one folder, and set OTTQA_DIR to it"
fi
