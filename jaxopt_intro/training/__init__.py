"""Training as two pure functions, evaluation that counts every example once, robustness, and hypergradients."""

from jaxopt_intro.training import probes, returned, workers
from jaxopt_intro.training.averaging import averaged
from jaxopt_intro.training.ensembles import ensemble, evaluate_ensemble, snapshots
from jaxopt_intro.training.making import TrainInfo, TrainState, evaluate, loss_values, make_training
from jaxopt_intro.training.parts import CONSTRUCTORS, check_makes, check_names, numbers_of, of_data, parts_of, several
from jaxopt_intro.training.robust import robustness
from jaxopt_intro.training.scheduling import (
    canonical_numbers,
    plain_schedules,
    schedule_role,
    scheduled_routes,
    schedules_of,
)
from jaxopt_intro.training.tuning import Tuned, hypergradient, tune

__all__ = [
    "CONSTRUCTORS", "TrainInfo", "TrainState", "Tuned", "averaged", "canonical_numbers", "check_makes", "check_names",
    "ensemble", "evaluate", "evaluate_ensemble", "hypergradient", "loss_values", "make_training", "numbers_of",
    "of_data", "parts_of", "plain_schedules", "probes", "returned", "robustness", "schedule_role", "scheduled_routes",
    "schedules_of", "several", "snapshots", "tune", "workers",
]  # fmt: skip
