"""Optimizers, with PyTorch's names, options and formulas."""

from __future__ import annotations

from staticgraph.dynamic.optim import lr_scheduler
from staticgraph.dynamic.optim.adam import Adam, Adamax, AdamW, NAdam, RAdam
from staticgraph.dynamic.optim.adaptive import Adadelta, Adagrad, RMSprop, Rprop
from staticgraph.dynamic.optim.lbfgs import LBFGS
from staticgraph.dynamic.optim.optimizer import Optimizer
from staticgraph.dynamic.optim.sgd import ASGD, SGD

__all__ = [
    "ASGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "LBFGS",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
    "lr_scheduler",
]
