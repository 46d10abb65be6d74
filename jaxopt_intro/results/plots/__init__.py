"""Pictures of a run: `(dataset, *, ax=None) -> Axes`. Readable in print and by the colour-blind.

Everywhere a trial counts by the mean over its seeds, and a point that several trials share by the best of them.
"""

from jaxopt_intro.results.plots.learning import best_so_far, gap
from jaxopt_intro.results.plots.maps import landscape
from jaxopt_intro.results.plots.runs import curves, heatmap, overview, sensitivity
from jaxopt_intro.results.plots.searches import comparison, rungs
from jaxopt_intro.results.plots.spaces import coefficient_paths, importance, parallel

__all__ = [
    "overview", "heatmap", "sensitivity", "curves", "gap", "best_so_far", "comparison", "rungs", "parallel",
    "importance", "coefficient_paths", "landscape",
]  # fmt: skip
