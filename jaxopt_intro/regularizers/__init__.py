"""Regularizers: penalties on parameters and noise inside models, every number traceable."""

from jaxopt_intro.regularizers.penalties import l1, l2
from jaxopt_intro.regularizers.stochastic import dropout
from jaxopt_intro.regularizers.stopping import EarlyStopping, EarlyStoppingState, early_stopping

PENALTIES = {"l1": l1, "l2": l2}
STOPPING = {"early_stopping": early_stopping}

__all__ = ["PENALTIES", "STOPPING", "EarlyStopping", "EarlyStoppingState", "dropout", "early_stopping", "l1", "l2"]
