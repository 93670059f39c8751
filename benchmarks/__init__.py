"""Works run by this package and by its peers, side by side: ``python -m benchmarks``.

`runner` asks one process per implementation for rounds in turn, `worker` is that process, `works`
holds what is run, and `table`, `plot` and `report` show what was seen.
"""
