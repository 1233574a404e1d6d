"""The agent loops `search_agent` and `search_tool_agent`: episodes that think, search and answer.

`settings` reads the user's keys, `chat` is the text between two turns, `trajectory` the ids with their mask and
log-probs, `episode_search` the searches that both loops make, `search_agent` the loop of the text protocol,
`search_tool_agent` veRL's tool loop with `search_tool` as its tool, `rows` the data set whose prompts are counted as
these loops build them, `failures` the budget of episodes that may fail, `fail_fast` what becomes of one. Importing this
package imports none of them: veRL's agent-loop modules cost seconds, and only the processes that run episodes need
them.
"""

from pathlib import Path

FAIL_FAST_MANAGER = "wapo_verl.rollout.fail_fast.FailFastAgentLoopManager"
"""The value for `actor_rollout_ref.rollout.agent.agent_loop_manager_class` that deals with failed episodes."""

EPISODE_ROWS = {"data.custom_cls.path": "pkg://wapo_verl.rollout.rows", "data.custom_cls.name": "EpisodeRows"}
"""The keys of a run that let `data.filter_overlong_prompts` count the prompts that the agent loops build."""

TOOL_CONFIG = str(Path(__file__).with_name("search_tool.yaml"))
"""The file that describes the search tool, for `actor_rollout_ref.rollout.multi_turn.tool_config_path`."""
