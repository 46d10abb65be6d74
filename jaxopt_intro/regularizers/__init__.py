"""Regularizers: penalties, proximal operators, projections, noise and early stopping, every number traceable.

Penalties and noise are here by name; proximal operators and projections, many of which share a penalty's name, are in
`regularizers.proximal` and `regularizers.projections`.
"""

from jaxopt_intro.regularizers import projections, proximal
from jaxopt_intro.regularizers.penalties import elastic_net, gradient_penalty, group_lasso, l1, l2, nuclear
from jaxopt_intro.regularizers.stochastic import dropout, gaussian_noise, spatial_dropout, stochastic_depth
from jaxopt_intro.regularizers.stopping import EarlyStopping, EarlyStoppingState
from jaxopt_intro.routing import named

PENALTIES = {
    "elastic_net": elastic_net,
    "group_lasso": group_lasso,
    "l1": l1,
    "l2": l2,
    "nuclear": nuclear,
}

# Penalties of a function at its inputs: in a training, of the loss of each example.
INPUT_PENALTIES = {"gradient_penalty": gradient_penalty}

PROXIMAL = {
    "elastic_net": proximal.elastic_net,
    "group_lasso": proximal.group_lasso,
    "l1": proximal.l1,
    "l2": proximal.l2,
    "nonnegative": proximal.nonnegative,
    "nuclear": proximal.nuclear,
}

PROJECTIONS = {
    "box": projections.box,
    "l1_ball": projections.l1_ball,
    "l2_ball": projections.l2_ball,
    "linf_ball": projections.linf_ball,
    "max_norm": projections.max_norm,
    "nonnegative": projections.nonnegative,
    "simplex": projections.simplex,
    "unit_norm": projections.unit_norm,
}

STOCHASTIC = {
    "dropout": dropout,
    "gaussian_noise": gaussian_noise,
    "spatial_dropout": spatial_dropout,
    "stochastic_depth": stochastic_depth,
}

STOPPING = {"early_stopping": named(EarlyStopping, "early_stopping")}

__all__ = [
    "INPUT_PENALTIES", "PENALTIES", "PROJECTIONS", "PROXIMAL", "STOCHASTIC", "STOPPING",
    "EarlyStopping", "EarlyStoppingState", "dropout", "elastic_net", "gaussian_noise",
    "gradient_penalty", "group_lasso", "l1", "l2", "nuclear", "projections", "proximal", "spatial_dropout",
    "stochastic_depth",
]  # fmt: skip
