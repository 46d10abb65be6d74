"""Training as two pure functions, evaluation that counts every example exactly once, and robustness."""

from jaxopt_intro.training.making import (
    CONSTRUCTORS,
    TrainInfo,
    TrainState,
    evaluate,
    loss_values,
    make_training,
    numbers_of,
    of_data,
    parts_of,
    several,
)
from jaxopt_intro.training.robust import robustness

__all__ = [
    "CONSTRUCTORS", "TrainInfo", "TrainState", "evaluate", "loss_values", "make_training", "numbers_of", "of_data",
    "parts_of", "robustness", "several",
]  # fmt: skip
