# What WAPO's published mathematics runs add; sourced after common.sh. A recipe sets MAX_LENGTH before, the tokens that WAPO's
# normaliser counts (L: 4096 for MATH, 8192 for NuminaMath-LEAN).
#
# Published: 500 steps. A recipe sets MAX_RESPONSE_LENGTH too, the tokens that may be written.

STEPS="${STEPS:-500}"

source "$(dirname "${BASH_SOURCE[0]}")/published.sh"

# published_math_settings OUT: fill SETTINGS.
published_math_settings() {
    published_settings "$1"
    # The other algorithms' averages do not divide by L.
    if [[ "$ADV_ESTIMATOR" == wapo ]]; then SETTINGS+=(actor_rollout_ref.actor.loss_scale_factor="$MAX_LENGTH"); fi
}
