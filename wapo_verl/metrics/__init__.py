"""Numbers that a step logs beside veRL's own, as pure functions on what the step has at hand."""
