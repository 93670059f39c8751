"""Random programs: every way to run one gives the same numbers."""
