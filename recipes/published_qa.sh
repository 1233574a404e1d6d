# What WAPO's published question-answering runs add; sourced after common.sh.
#
# Published: sequences of 8192 tokens, at most 1024 tokens a turn and 10 turns, top 3 documents, 1000 steps, the first 100
# rows to test on, and the reward (0.3 turn_format + 1.0 F1) / 1.3.
#
# REWARD=published|exact_match chooses the reward. With the first, groups without a right answer have winners too, as in the
# authors' runs; +wapo.outcome_gate=exact_match as an argument keeps them out.

REWARD="${REWARD:-published}"
case "$REWARD" in
    published | exact_match) ;;
    *) stop "REWARD=$REWARD is no reward of these runs: choose published or exact_match" ;;
esac
VAL_SAMPLES="${VAL_SAMPLES:-100}"
MAX_LENGTH="${MAX_LENGTH:-8192}"                 # tokens of a sequence, prompt and tool results included
MAX_TURNS="${MAX_TURNS:-10}"
MAX_TURN_TOKENS="${MAX_TURN_TOKENS:-1024}"
TOP_K="${TOP_K:-3}"
PASSAGE_TOKENS="${PASSAGE_TOKENS:-512}"
STEPS="${STEPS:-1000}"

ROW_OPTIONS+=(--set max_turns="$MAX_TURNS")      # the prompt says how many

source "$(dirname "${BASH_SOURCE[0]}")/published.sh"

# published_qa_settings OUT INDEX: fill SETTINGS. INDEX is a folder, or the address of a retrieval service.
published_qa_settings() {
    published_settings "$1"
    SETTINGS+=(
        +reward.custom_reward_function.reward_kwargs.weights="$REWARD"
        +wapo.search_agent.index="$2"
        +wapo.search_agent.top_k="$TOP_K"
        +wapo.search_agent.passage_tokens="$PASSAGE_TOKENS"
        +wapo.search_agent.max_turn_tokens="$MAX_TURN_TOKENS"
        actor_rollout_ref.rollout.multi_turn.max_assistant_turns="$MAX_TURNS"
    )
}
