"""Losses and penalties transcribed in float64 NumPy loops, sharing no code with ours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.reference import loss_formulas


def softmax_cross_entropy(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
) -> np.ndarray:
    """Szegedy et al. 2016, section 7: the cross entropy with the smoothed target, example by example."""
    losses = []
    for scores, label in zip(np.asarray(logits, np.float64), labels, strict=True):
        probabilities = np.exp(scores - scores.max())
        probabilities /= probabilities.sum()
        loss = 0.0
        for j, p in enumerate(probabilities):
            target = (1 - label_smoothing) * (j == label) + label_smoothing / len(scores)
            loss -= target * np.log(p)
        losses.append(loss * (1.0 if class_weights is None else class_weights[label]))
    return np.array(losses)


def weston_watkins(scores: np.ndarray, labels: np.ndarray, *, margin: float = 1.0) -> np.ndarray:
    """Weston and Watkins 1999, with the margin of CS231n's slide, example by example."""
    losses = []
    for row, label in zip(np.asarray(scores, np.float64), labels, strict=True):
        losses.append(sum(max(0.0, row[j] - row[label] + margin) for j in range(len(row)) if j != label))
    return np.array(losses)


def l1(leaves: Sequence[np.ndarray], *, strength: float) -> float:
    """Tibshirani 1996, equation (1)."""
    return strength * sum(abs(float(x)) for leaf in leaves for x in np.ravel(leaf))


def l2(leaves: Sequence[np.ndarray], *, strength: float) -> float:
    """Half the sum of squares."""
    return strength / 2 * sum(float(x) ** 2 for leaf in leaves for x in np.ravel(leaf))


REFERENCES = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "weston_watkins": weston_watkins,
    **loss_formulas.REFERENCES,
    "l1": l1,
    "l2": l2,
}
