"""From names to functions, from an experiment and trials to a run."""

from jaxopt_intro.experiment.asking import Experiment
from jaxopt_intro.experiment.choosing import finalists
from jaxopt_intro.experiment.describing import Description, describe
from jaxopt_intro.experiment.loading import LoadedModel, load_model
from jaxopt_intro.experiment.mapping import landscape, zoomed
from jaxopt_intro.experiment.replaying import Replay, replay
from jaxopt_intro.experiment.running import sweep

__all__ = [
    "Description",
    "Experiment",
    "LoadedModel",
    "Replay",
    "describe",
    "finalists",
    "landscape",
    "load_model",
    "replay",
    "sweep",
    "zoomed",
]
