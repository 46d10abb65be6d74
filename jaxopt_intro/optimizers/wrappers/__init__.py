"""Wrappers: `wrapper(inner, *, numbers...)` makes an optimizer of any optimizer. Every number may be traced."""

from jaxopt_intro.optimizers.wrappers.accumulating import AccumulateState, accumulate, batches
from jaxopt_intro.optimizers.wrappers.averaging import EmaState, SwaState, ema, swa
from jaxopt_intro.optimizers.wrappers.clipping import adaptive_clip, clip, clip_by_block_norm, clip_by_global_norm
from jaxopt_intro.optimizers.wrappers.factors import RateFactorsState, with_rate_factors
from jaxopt_intro.optimizers.wrappers.gradients import GradientNoiseState, centralize, gradient_noise
from jaxopt_intro.optimizers.wrappers.lengths import length_factors
from jaxopt_intro.optimizers.wrappers.lookahead import LookaheadState, lookahead
from jaxopt_intro.optimizers.wrappers.sam import asam, sam
from jaxopt_intro.optimizers.wrappers.scheduling import ScheduledState, scheduled

WRAPPERS = {
    "accumulate": accumulate,
    "adaptive_clip": adaptive_clip,
    "asam": asam,
    "centralize": centralize,
    "clip": clip,
    "clip_by_block_norm": clip_by_block_norm,
    "clip_by_global_norm": clip_by_global_norm,
    "ema": ema,
    "gradient_noise": gradient_noise,
    "lookahead": lookahead,
    "sam": sam,
    "swa": swa,
}

__all__ = [
    "WRAPPERS", "AccumulateState", "EmaState", "GradientNoiseState", "LookaheadState", "RateFactorsState",
    "ScheduledState", "SwaState", "accumulate", "adaptive_clip", "asam", "batches", "centralize", "clip",
    "clip_by_block_norm", "clip_by_global_norm", "ema", "gradient_noise", "length_factors", "lookahead", "sam",
    "scheduled", "swa", "with_rate_factors",
]  # fmt: skip
