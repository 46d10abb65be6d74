"""Makes sklearn.json: scikit-learn's metrics of single examples, and weights at which its linear models come to rest.

Run with scikit-learn 1.9.1: `python make_sklearn.py`. Paths of the lasso and the elastic net are in make_lasso.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def inputs() -> dict[str, np.ndarray]:
    """Skewed on purpose: of a symmetric input a reversed sign would not show."""
    random = np.random.default_rng(21)

    def skewed(*shape: int) -> np.ndarray:
        return (1.5 * random.gamma(1.2, size=shape) - 1.0).round(6)

    features, kernel = skewed(40, 6), skewed(6, 3)
    kernel[[1, 4]] *= 0.05  # some features hardly matter
    answers = features @ kernel
    return {
        "logits": skewed(8, 4),
        "labels": np.array([3, 0, 2, 1, 3, 2, 0, 3]),
        "scores": skewed(9),
        "signs": np.array([1, -1, 1, 1, -1, -1, 1, -1, 1]),
        "predictions": skewed(9),
        "targets": skewed(9),
        "weights": skewed(9) + 1.5,
        "counts": random.poisson(2.5, size=9) + 1,
        "features": features,
        "outputs": (answers + 0.5 * skewed(40, 3) + [2.0, -1.0, 0.5]).round(6),
        "classes": np.argmax((answers - answers.mean(0)) / answers.std(0) + skewed(40, 3), axis=1),
    }


def run_metrics(given: dict[str, np.ndarray]) -> dict[str, Any]:
    """The metrics are means over examples; of weights that are 0 for all but one they are its loss."""
    from scipy.special import softmax  # not installed where the tests run: scikit-learn
    from sklearn import metrics

    def each(metric: Callable[..., float], true: np.ndarray, predicted: np.ndarray, **settings: float) -> list[float]:
        return [float(metric(true, predicted, sample_weight=alone, **settings)) for alone in np.eye(len(true))]

    logits, labels, scores, signs = (given[n] for n in ("logits", "labels", "scores", "signs"))
    predictions, targets, weights, counts = (given[n] for n in ("predictions", "targets", "weights", "counts"))
    return {
        "log_loss": each(metrics.log_loss, labels, softmax(logits, axis=1)),
        "hinge_loss": each(metrics.hinge_loss, signs, scores),
        "hinge_loss: classes": each(metrics.hinge_loss, labels, logits),
        "mean_pinball_loss": each(metrics.mean_pinball_loss, targets, predictions, alpha=0.8),
        "mean_pinball_loss: weighted": metrics.mean_pinball_loss(
            targets, predictions, sample_weight=weights, alpha=0.8
        ),
        "mean_poisson_deviance": each(metrics.mean_poisson_deviance, counts, np.exp(predictions)),
    }


def run_models(given: dict[str, np.ndarray]) -> dict[str, Any]:
    """Coefficients as kernels `[features, outputs]`, for several strengths each."""
    from sklearn.linear_model import LogisticRegression, MultiTaskLasso, Ridge

    features, outputs, classes = given["features"], given["outputs"], given["classes"]
    centred = features - features.mean(0)
    highest = np.linalg.norm(centred.T @ (outputs - outputs.mean(0)), axis=1).max() / len(features)
    fits = {
        "MultiTaskLasso": [
            (a, MultiTaskLasso(alpha=a, tol=1e-14, max_iter=10**6).fit(features, outputs))
            for a in (highest * np.array([0.03, 0.2, 0.5, 0.8])).round(6)
        ],
        "Ridge": [(a, Ridge(alpha=a, solver="cholesky").fit(features, outputs)) for a in (0.5, 7.0, 90.0)],
        "LogisticRegression": [
            (c, LogisticRegression(C=c, solver="newton-cholesky", tol=1e-13).fit(features, classes))
            for c in (0.01, 0.3, 5.0)
        ],
    }
    return {
        name: {
            "strengths": [float(strength) for strength, _ in fitted],
            "kernels": [fit.coef_.T.tolist() for _, fit in fitted],
            "biases": [fit.intercept_.tolist() for _, fit in fitted],
        }
        for name, fitted in fits.items()
    }


def main() -> None:
    """Runs everything and writes it beside this file."""
    import sklearn

    given = inputs()
    out = {
        "scikit-learn": sklearn.__version__,
        "inputs": {name: array.tolist() for name, array in given.items()},
        "metrics": run_metrics(given),
        "models": run_models(given),
    }
    Path(__file__).with_name("sklearn.json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
