"""Losses: one value per example, never broadcasting, every number traceable. `reduction` is the place that reduces."""

from jaxopt_intro.losses import reduction
from jaxopt_intro.losses.classification import softmax_cross_entropy
from jaxopt_intro.losses.margin import weston_watkins

LOSSES = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "weston_watkins": weston_watkins,
}

__all__ = ["LOSSES", "reduction", "softmax_cross_entropy", "weston_watkins"]
