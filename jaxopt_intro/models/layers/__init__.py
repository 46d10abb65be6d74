"""NNX layers whose numbers may be traced, and convolutions and pooling that stay fast under `vmap` and inside loops."""

from jaxopt_intro.models.layers.convolution import conv
from jaxopt_intro.models.layers.in_force import using
from jaxopt_intro.models.layers.lowering import WAYS
from jaxopt_intro.models.layers.noise import Dropout, GaussianNoise, SpatialDropout, StochasticDepth
from jaxopt_intro.models.layers.normalization import BatchNorm
from jaxopt_intro.models.layers.planning import Plan, check_ways, plan, plan_for, planned
from jaxopt_intro.models.layers.pooling import avg_pool, max_pool

__all__ = [
    "WAYS", "BatchNorm", "Dropout", "GaussianNoise", "Plan", "SpatialDropout", "StochasticDepth", "avg_pool",
    "check_ways", "conv", "max_pool", "plan", "plan_for", "planned", "using",
]  # fmt: skip
