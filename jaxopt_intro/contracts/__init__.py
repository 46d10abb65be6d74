"""What must always be true of a part, as checks: for the tables of this library, and for a part of your own.

1. Traceable: every number may be a tracer; its vmapped values are those of the solo calls.
2. Steady: structures, shapes and dtypes do not depend on the numbers, nor change from step to step.
3. Differentiable: derivatives by every number agree with finite differences in float64, and are finite at zero.
4. Shaped as its role asks: a value for each example, a scalar, an update for each parameter, an image for an image.

Each `check_…` returns what it has checked, or raises `Broken`, which says what was found and how to mend it.
"""

from jaxopt_intro.contracts.augmentation import check_augmentation
from jaxopt_intro.contracts.loss import LABELS, SCORES, TARGETS, check_loss
from jaxopt_intro.contracts.model import check_model
from jaxopt_intro.contracts.optimizer import check_optimizer
from jaxopt_intro.contracts.penalty import check_penalty
from jaxopt_intro.contracts.schedule import check_schedule
from jaxopt_intro.contracts.subject import PARAMS, Broken, Checked

__all__ = [
    "LABELS", "PARAMS", "SCORES", "TARGETS", "Broken", "Checked", "check_augmentation", "check_loss", "check_model",
    "check_optimizer", "check_penalty", "check_schedule",
]  # fmt: skip
