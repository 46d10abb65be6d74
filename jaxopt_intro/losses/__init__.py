"""Losses: one value per example or element, never broadcasting, every number traceable. `reduction` alone reduces."""

from jaxopt_intro.losses import reduction
from jaxopt_intro.losses.classification import (
    binary_focal,
    focal,
    generalized_cross_entropy,
    poly,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)
from jaxopt_intro.losses.divergence import jensen_shannon, kl
from jaxopt_intro.losses.margin import (
    crammer_singer,
    hinge,
    logistic,
    perceptron,
    smoothed_hinge,
    squared_hinge,
    squared_weston_watkins,
    weston_watkins,
)
from jaxopt_intro.losses.metric import batch_hard_triplet, cosine, nt_xent, triplet
from jaxopt_intro.losses.regression import (
    absolute,
    epsilon_insensitive,
    gaussian_nll,
    half_squared,
    huber,
    log_cosh,
    poisson_nll,
    quantile,
    squared,
)

# All losses `(predictions, targets, *, numbers)` of each example by itself. Not among them: `triplet`, of three arrays.
LOSSES = {
    "absolute": absolute,
    "binary_focal": binary_focal,
    "cosine": cosine,
    "crammer_singer": crammer_singer,
    "epsilon_insensitive": epsilon_insensitive,
    "focal": focal,
    "gaussian_nll": gaussian_nll,
    "generalized_cross_entropy": generalized_cross_entropy,
    "half_squared": half_squared,
    "hinge": hinge,
    "huber": huber,
    "jensen_shannon": jensen_shannon,
    "kl": kl,
    "log_cosh": log_cosh,
    "logistic": logistic,
    "perceptron": perceptron,
    "poisson_nll": poisson_nll,
    "poly": poly,
    "quantile": quantile,
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
    "smoothed_hinge": smoothed_hinge,
    "softmax_cross_entropy": softmax_cross_entropy,
    "squared": squared,
    "squared_hinge": squared_hinge,
    "squared_weston_watkins": squared_weston_watkins,
    "weston_watkins": weston_watkins,
}

# Losses whose value of an example depends on the rest of its batch; their keyword `present` says who is in it.
BATCH_LOSSES = {
    "batch_hard_triplet": batch_hard_triplet,
    "nt_xent": nt_xent,
}

# How many outputs of a model belong to each target, where it is not one: by loss.
OUTPUTS_FOR_EACH_TARGET = {gaussian_nll: 2}

__all__ = [
    "BATCH_LOSSES",
    "LOSSES",
    "OUTPUTS_FOR_EACH_TARGET",
    "reduction",
    "absolute",
    "batch_hard_triplet",
    "binary_focal",
    "cosine",
    "crammer_singer",
    "epsilon_insensitive",
    "focal",
    "gaussian_nll",
    "generalized_cross_entropy",
    "half_squared",
    "hinge",
    "huber",
    "jensen_shannon",
    "kl",
    "log_cosh",
    "logistic",
    "nt_xent",
    "perceptron",
    "poisson_nll",
    "poly",
    "quantile",
    "sigmoid_cross_entropy",
    "smoothed_hinge",
    "softmax_cross_entropy",
    "squared",
    "squared_hinge",
    "squared_weston_watkins",
    "triplet",
    "weston_watkins",
]
