"""The formulas of losses, transcribed one number at a time in float64 and sharing no code with ours.

`elementwise` and `per_example` turn a formula of Python floats, or of a row, into a function of arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import special, stats


def elementwise(formula: Callable[..., float]) -> Callable[..., np.ndarray]:
    """Returns the formula, applied to each pair of numbers."""

    def loss(predictions: Any, targets: Any, **numbers: Any) -> np.ndarray:
        predictions, targets = np.asarray(predictions, np.float64), np.asarray(targets, np.float64)
        assert predictions.shape == targets.shape
        pairs = zip(predictions.ravel(), targets.ravel(), strict=True)
        return np.array([formula(p, t, **numbers) for p, t in pairs]).reshape(predictions.shape)

    return loss


def per_example(formula: Callable[..., float]) -> Callable[..., np.ndarray]:
    """Returns the formula, applied to each row."""

    def loss(predictions: Any, targets: Any, **numbers: Any) -> np.ndarray:
        rows = zip(np.asarray(predictions, np.float64), np.asarray(targets), strict=True)
        return np.array([formula(p, t, **numbers) for p, t in rows])

    return loss


def probability(scores: np.ndarray, label: int) -> float:
    return float(special.softmax(scores)[label])


def focal(scores: np.ndarray, label: int, *, gamma: float = 2.0, class_weights: Sequence[float] | None = None) -> float:
    """Lin et al. 2017, equations (4) and (5)."""
    p = probability(scores, label)
    return -(1.0 if class_weights is None else class_weights[label]) * (1 - p) ** gamma * math.log(p)


def binary_focal(logit: float, target: float, *, gamma: float = 2.0, alpha: float | None = None) -> float:
    """Lin et al. 2017, equations (4) and (5), target by target."""
    p = special.expit(logit)
    a, b = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    return -a * target * (1 - p) ** gamma * math.log(p) - b * (1 - target) * p**gamma * math.log(1 - p)


def poly(scores: np.ndarray, label: int, *, epsilon: float = 2.0) -> float:
    """Leng et al. 2022, Poly-1."""
    p = probability(scores, label)
    return -math.log(p) + epsilon * (1 - p)


def generalized_cross_entropy(scores: np.ndarray, label: int, *, q: float = 0.7) -> float:
    """Zhang and Sabuncu 2018, section 3.2; the limit by l'Hospital's rule."""
    p = probability(scores, label)
    return (1 - p**q) / q if q > 0 else -math.log(p)


def sigmoid_cross_entropy(
    logit: float, target: float, *, label_smoothing: float = 0.0, positive_weight: float = 1.0
) -> float:
    """Bishop 2006, equation (4.90), its targets smoothed."""
    target = target * (1 - label_smoothing) + 0.5 * label_smoothing
    p = special.expit(logit)
    return -(positive_weight * target * math.log(p) + (1 - target) * math.log(1 - p))


def crammer_singer(scores: np.ndarray, label: int, *, margin: float = 1.0) -> float:
    """Crammer and Singer 2001: the maximum of the scores, each wrong one lifted by the margin, less the right one."""
    return max(s + (0.0 if j == label else margin) for j, s in enumerate(scores)) - scores[label]


def squared_weston_watkins(scores: np.ndarray, label: int, *, margin: float = 1.0) -> float:
    """CS231n: the sum of squares in place of the sum."""
    return sum(max(0.0, s - scores[label] + margin) ** 2 for j, s in enumerate(scores) if j != label)


def smoothed_hinge(score: float, target: float, *, margin: float = 1.0, smoothing: float = 1.0) -> float:
    """Shalev-Shwartz and Zhang 2013, by cases in the agreement `a`."""
    a = target * score
    if a >= margin:
        return 0.0
    if a <= margin - smoothing:
        return margin - a - smoothing / 2
    return (margin - a) ** 2 / (2 * smoothing)


def huber(prediction: float, target: float, *, delta: float = 1.0) -> float:
    """SciPy's."""
    return float(special.huber(delta, target - prediction))


def quantile(prediction: float, target: float, *, level: float = 0.5) -> float:
    """Koenker and Bassett 1978, by cases."""
    return level * (target - prediction) if target >= prediction else (1 - level) * (prediction - target)


def gaussian_nll(row: np.ndarray, targets: np.ndarray) -> list[float]:
    """SciPy's density."""
    mean, log_variance = row[: len(targets)], row[len(targets) :]
    return [-stats.norm.logpdf(t, m, math.exp(0.5 * v)) for t, m, v in zip(targets, mean, log_variance, strict=True)]


def poisson_nll(log_rate: float, target: float) -> float:
    """The logarithm of rate ** target * exp(-rate) / target!, with the gamma function in place of the factorial."""
    return math.exp(log_rate) - target * log_rate + math.lgamma(target + 1)


def kl(scores: np.ndarray, targets: np.ndarray) -> float:
    """Cover and Thomas 2006, section 2.3, with 0 log 0 = 0, by SciPy."""
    p = special.softmax(scores)
    return sum(special.xlogy(t, t / q) for t, q in zip(targets, p, strict=True))


def jensen_shannon(scores: np.ndarray, targets: np.ndarray) -> float:
    """Lin 1991, section IV: the entropy of the mixture less the mean entropy."""
    p = special.softmax(scores)
    mixture, of_p, of_targets = (float(np.sum(special.entr(x))) for x in ((p + targets) / 2, p, targets))
    return mixture - (of_p + of_targets) / 2


def cosine(prediction: np.ndarray, target: np.ndarray) -> float:
    return 1 - float(prediction @ target) / (math.hypot(*prediction) * math.hypot(*target))


def triplet(
    anchor: np.ndarray, positive: np.ndarray, negative: np.ndarray, *, margin: float = 1.0, degree: float = 2.0
) -> float:
    """Balntas et al. 2016, with NumPy's norms."""
    near, far = (np.linalg.norm(anchor - x, ord=degree) for x in (positive, negative))
    return max(0.0, float(near - far) + margin)


def nt_xent(embeddings: np.ndarray, groups: np.ndarray, *, temperature: float = 0.1) -> np.ndarray:
    """Chen et al. 2020, equation (1), averaged over the others of the group: Khosla et al. 2020, equation (2)."""
    count, losses = len(embeddings), []
    for i in range(count):
        scores = {k: (1 - cosine(embeddings[i], embeddings[k])) / temperature for k in range(count) if k != i}
        total = sum(math.exp(s) for s in scores.values())
        terms = [-math.log(math.exp(scores[j]) / total) for j in scores if groups[j] == groups[i]]
        losses.append(sum(terms) / len(terms) if terms else 0.0)
    return np.array(losses)


REFERENCES: dict[str, Callable[..., np.ndarray]] = {
    "focal": per_example(focal),
    "binary_focal": elementwise(binary_focal),
    "poly": per_example(poly),
    "generalized_cross_entropy": per_example(generalized_cross_entropy),
    "sigmoid_cross_entropy": elementwise(sigmoid_cross_entropy),
    "crammer_singer": per_example(crammer_singer),
    "squared_weston_watkins": per_example(squared_weston_watkins),
    "hinge": elementwise(lambda s, t, *, margin=1.0: max(0.0, margin - t * s)),
    "squared_hinge": elementwise(lambda s, t, *, margin=1.0: max(0.0, margin - t * s) ** 2),
    "smoothed_hinge": elementwise(smoothed_hinge),
    "logistic": elementwise(lambda s, t: math.log(1 + math.exp(-t * s))),
    "perceptron": elementwise(lambda s, t: -t * s if t * s < 0 else 0.0),
    "squared": elementwise(lambda p, t: (p - t) ** 2),
    "half_squared": elementwise(lambda p, t: (p - t) ** 2 / 2),
    "absolute": elementwise(lambda p, t: abs(p - t)),
    "huber": elementwise(huber),
    "log_cosh": elementwise(lambda p, t: math.log(math.cosh(p - t))),
    "quantile": elementwise(quantile),
    "epsilon_insensitive": elementwise(lambda p, t, *, epsilon=0.1: max(0.0, abs(p - t) - epsilon)),
    "gaussian_nll": per_example(gaussian_nll),
    "poisson_nll": elementwise(poisson_nll),
    "kl": per_example(kl),
    "jensen_shannon": per_example(jensen_shannon),
    "cosine": per_example(cosine),
}
