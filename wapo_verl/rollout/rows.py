"""veRL's data set, which counts for each row the prompt that the row's agent loop will build.

veRL filters overlong prompts with the tools of `multi_turn.tool_config_path` in every prompt. `search_tool_agent`
brings its tool by itself, and `search_agent` shows none.
"""

from typing import Any

from datasets import Dataset
from verl.utils.dataset.rl_dataset import RLHFDataset

from wapo_verl.environments.tool_calls import SEARCH_TOOL
from wapo_verl.rollout.search_tool import shipped_tool

Schemas = list[dict[str, Any]] | None
"""Descriptions of tools, as chat templates take them."""

_PLACE = "__wapo_place"


class EpisodeRows(RLHFDataset):
    """Rows of a run whose episodes search; the value for `data.custom_cls`."""

    tool_schemas: Schemas

    def maybe_filter_out_long_prompts(self, dataframe: Dataset | None = None) -> Dataset:
        """Leave out rows whose prompt, tools included, has more than `max_prompt_length` tokens.

        Args:
            dataframe: the rows; their column `agent_name` names the loops.
        """
        assert dataframe is not None
        if not self.filter_overlong_prompts or "agent_name" not in dataframe.column_names:
            return super().maybe_filter_out_long_prompts(dataframe)
        names, schemas = dataframe["agent_name"], self.tool_schemas
        numbered = dataframe.add_column(_PLACE, list(range(len(dataframe))))
        kept: list[int] = []
        for name in sorted(set(names)):
            self.tool_schemas = _schemas_of(name, schemas)
            own = numbered.select([place for place, other in enumerate(names) if other == name])
            kept += super().maybe_filter_out_long_prompts(own)[_PLACE]
        self.tool_schemas = schemas
        return dataframe.select(sorted(kept))


def _schemas_of(agent_name: str, configured: Schemas) -> Schemas:
    """Return the schemas of the tools that an agent loop's prompts show; `configured` are the run's own."""
    if agent_name == "search_agent":
        return None
    if agent_name != "search_tool_agent":
        return configured
    own = [schema for schema in configured or () if schema["function"]["name"] == SEARCH_TOOL]
    return own or [shipped_tool().tool_schema.model_dump(exclude_unset=True, exclude_none=True)]
