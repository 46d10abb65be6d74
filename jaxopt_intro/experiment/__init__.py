"""From names to functions, from an experiment and trials to a run."""

from jaxopt_intro.experiment.asking import Experiment
from jaxopt_intro.experiment.loading import LoadedModel, load_model
from jaxopt_intro.experiment.running import sweep

__all__ = ["Experiment", "LoadedModel", "load_model", "sweep"]
