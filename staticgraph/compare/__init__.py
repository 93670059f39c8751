"""Programs as static graphs, define-by-run and by hand: the same losses, and what each costs.

``python -m staticgraph compare`` runs every pair and tells.  From Python:

>>> from staticgraph.compare import chosen, forms_of, losses_of
>>> (pair,) = chosen(["polynomial_autograd"])
>>> losses = losses_of(pair, forms_of(pair), steps=3)
>>> [round(loss, -2) for loss in losses["static"]]
[1485700.0, 329100.0, 100900.0]
>>> [round(loss, -2) for loss in losses["dynamic"]]
[1485700.0, 329100.0, 100900.0]
"""

from staticgraph.compare.measure import (
    QUICK,
    Settings,
    forms_of,
    losses_of,
    measure,
    measure_pair,
)
from staticgraph.compare.pair import Pair
from staticgraph.compare.pairs import PAIRS, chosen
from staticgraph.compare.result import Comparison, FormResult, PairResult, break_even

__all__ = [
    "PAIRS", "QUICK", "Comparison", "FormResult", "Pair", "PairResult", "Settings", "break_even",
    "chosen", "forms_of", "losses_of", "measure", "measure_pair",
]  # fmt: skip
