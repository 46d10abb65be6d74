"""Regularizers: penalties on parameters and noise inside models, every number traceable."""

from jaxopt_intro.regularizers.penalties import l1, l2
from jaxopt_intro.regularizers.stochastic import dropout

PENALTIES = {"l1": l1, "l2": l2}

__all__ = ["PENALTIES", "dropout", "l1", "l2"]
