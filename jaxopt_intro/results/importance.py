"""Which settings decide whether a trial is among the best."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from jaxopt_intro.results.cells import axis
from jaxopt_intro.results.dataset import varying
from jaxopt_intro.results.ranking import summary

BINS = 6  # of a number with more values: few trials to a bin would say nothing


def importance(dataset: xr.Dataset, *, best: float = 0.25) -> pd.Series:
    """Returns how much each setting decides whether a trial is among the best: PED-ANOVA over bins.

    Of each setting, how the best trials are spread over its values is held against how all are::

        divergence = sum over bins of (share of the best - share of all)^2 / share of all

    A setting that means nothing has a divergence above 0 all the same, since the best are few; what chance alone would
    give is taken off, and what is left is divided by the sum over the settings. These are main effects: of a learning
    rate whose good value depends on the optimizer, each gets its own share only.

    Args:
        dataset: What `results.open` returned. Failed trials are among the worst; those without a score yet don't count.
        best: Which share of the trials is called the best.

    Returns:
        A share for each setting that varies, the largest first; all 0 where nothing is beyond chance. A setting that
        only some trials have is judged among those.

    Raises:
        ValueError: Fewer than 8 trials have a score or failed, or `best` is no share.

    References:
        Watanabe, Bansal and Hutter 2023, PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary
        subspaces, algorithm 1, with histograms in place of kernel density estimates, and without its factor for the
        shares' sizes, which is the same for all settings.
    """
    if not 0 < best < 1:
        raise ValueError(f"importance: got best={best}; expected a share between 0 and 1, such as 0.25.")
    trials = summary(dataset)
    counted = np.isfinite(trials.score.values) | (trials.status.values == "failed")
    if counted.sum() < 8:
        raise ValueError(
            f"importance: {counted.sum()} trials have a score or failed; expected at least 8, since fewer say nothing. "
            "Wait until more are done, or sweep more."
        )
    ranks = trials["rank"].values
    found = {name: _divergence(_bins(dataset, name), ranks, counted, best) for name in varying(dataset)}
    shares = pd.Series(found, dtype=float, name="importance")
    return (shares / (shares.sum() or 1.0)).sort_values(ascending=False, kind="stable")


def _bins(dataset: xr.Dataset, name: str) -> np.ndarray:
    """The bin of each trial; -1 where it doesn't have the setting."""
    across = axis(dataset, name)
    if across.scale == "choice" or len(across.values) <= BINS:
        return np.where(np.isnan(across.trials), -1, np.searchsorted(across.values, across.trials))
    known = across.trials[~np.isnan(across.trials)]
    borders = np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1], method="inverted_cdf")
    return np.where(np.isnan(across.trials), -1, np.searchsorted(borders, across.trials))


def _divergence(bins: np.ndarray, ranks: np.ndarray, counted: np.ndarray, best: float) -> float:
    having = counted & (bins >= 0)
    order = bins[having][np.argsort(ranks[having])]
    total = len(order)
    few = max(1, round(best * total))
    if few >= total:
        return 0.0
    every = np.bincount(order)
    first = np.bincount(order[:few], minlength=len(every))[every > 0] / few
    share = every[every > 0] / total
    chance = (len(share) - 1) / few * (total - few) / (total - 1)  # the expectation of drawing without replacement
    return max(0.0, float((((first - share) ** 2) / share).sum()) - chance)
