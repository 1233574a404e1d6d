# What WAPO's published question-answering runs add; sourced after common.sh.
#
# Published: sequences of 8192 tokens, at most 1024 tokens a turn and 10 turns, top 3 documents, 1000 steps.

MAX_LENGTH="${MAX_LENGTH:-8192}"                 # tokens of a sequence, prompt and tool results included
MAX_PROMPT_LENGTH="${MAX_PROMPT_LENGTH:-1024}"
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
        +wapo.search_agent.index="$2"
        +wapo.search_agent.top_k="$TOP_K"
        +wapo.search_agent.passage_tokens="$PASSAGE_TOKENS"
        +wapo.search_agent.max_turn_tokens="$MAX_TURN_TOKENS"
        actor_rollout_ref.rollout.multi_turn.max_assistant_turns="$MAX_TURNS"
    )
}
