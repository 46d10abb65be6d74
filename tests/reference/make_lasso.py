"""Makes lasso.json: coefficients of scikit-learn's Lasso and ElasticNet on the diabetes data, for 50 strengths each.

Run with scikit-learn 1.9.1: `python make_lasso.py`. The data (Efron, Hastie, Johnstone and Tibshirani 2004, Least angle
regression) are part of scikit-learn, whose licence is BSD-3-Clause. Columns are standardized before the fit.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

L1_RATIOS = {"lasso": 1.0, "elastic_net": 0.5}


def main() -> None:
    """Fits every strength on its own, to a duality gap of 1e-12 of the targets' square."""
    import sklearn  # not installed where the tests run
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import ElasticNet

    inputs, targets = load_diabetes(return_X_y=True, scaled=False)
    scaled = (inputs - inputs.mean(0)) / inputs.std(0)
    highest = np.abs(scaled.T @ (targets - targets.mean())).max() / len(targets)
    out = {"scikit-learn": sklearn.__version__, "inputs": inputs.tolist(), "targets": targets.tolist()}
    for name, l1_ratio in L1_RATIOS.items():
        strengths = (highest / l1_ratio * np.geomspace(1e-3, 0.99, 50)).round(6)
        fits = [
            ElasticNet(alpha=s, l1_ratio=l1_ratio, tol=1e-12, max_iter=10**6).fit(scaled, targets) for s in strengths
        ]
        out[name] = {
            "l1_ratio": l1_ratio,
            "strengths": strengths.tolist(),
            "coefficients": [fit.coef_.round(9).tolist() for fit in fits],
            "intercepts": [round(float(fit.intercept_), 9) for fit in fits],
        }
        smallest = min(abs(c) for fit in fits for c in fit.coef_ if c)
        print(name, "zeros:", sum(c == 0 for fit in fits for c in fit.coef_), "smallest not zero:", smallest)
    Path(__file__).with_name("lasso.json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
