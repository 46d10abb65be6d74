"""Penalties, proximal operators and projections transcribed in float64 NumPy loops, sharing no code with ours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.reference import losses


def elastic_net(leaves: Sequence[np.ndarray], *, strength: float, l1_ratio: float = 0.5) -> float:
    """Friedman, Hastie and Tibshirani 2010, equation (2)."""
    total = 0.0
    for leaf in leaves:
        for x in np.ravel(leaf):
            total += l1_ratio * abs(float(x)) + (1 - l1_ratio) * float(x) ** 2 / 2
    return strength * total


def columns(leaf: np.ndarray) -> list[np.ndarray]:
    """What each unit receives: the columns of a matrix, the filters of a convolution, the elements of a vector."""
    leaf = np.asarray(leaf, np.float64)
    return [leaf[..., j].ravel() for j in range(leaf.shape[-1])]


def group_lasso(leaves: Sequence[np.ndarray], *, strength: float) -> float:
    """Yuan and Lin 2006, equation (2.1)."""
    total = 0.0
    for leaf in leaves:
        for group in columns(leaf):
            total += len(group) ** 0.5 * sum(float(x) ** 2 for x in group) ** 0.5
    return strength * total


def nuclear(leaves: Sequence[np.ndarray], *, strength: float) -> float:
    """Fazel, Hindi and Boyd 2001, equation (3): singular values as roots of the Gram matrix' eigenvalues."""
    total = 0.0
    for leaf in leaves:
        matrix = np.reshape(leaf, (-1, leaf.shape[-1] if np.ndim(leaf) > 1 else 1)).astype(np.float64)
        total += np.sqrt(np.maximum(np.linalg.eigvalsh(matrix.T @ matrix), 0)).sum()
    return strength * total


PENALTIES = {
    "elastic_net": elastic_net,
    "group_lasso": group_lasso,
    "l1": losses.l1,
    "l2": losses.l2,
    "nuclear": nuclear,
}


def prox_elastic_net(leaf: np.ndarray, step: float, *, strength: float, l1_ratio: float = 0.5) -> np.ndarray:
    """Element by element, from the three cases of the optimality condition."""
    out = np.zeros(leaf.shape)
    for i, x in np.ndenumerate(leaf):
        push, shrink = step * strength * l1_ratio, 1 + step * strength * (1 - l1_ratio)
        if x > push:
            out[i] = (x - push) / shrink
        elif x < -push:
            out[i] = (x + push) / shrink
    return out


def prox_group_lasso(leaf: np.ndarray, step: float, *, strength: float) -> np.ndarray:
    """Yuan and Lin 2006, equation (2.4), column by column."""
    out = np.array(leaf, np.float64)
    for j, group in enumerate(columns(leaf)):
        norm = np.linalg.norm(group)
        kept = max(0.0, 1 - step * strength * np.sqrt(len(group)) / norm) if norm else 0.0
        out[..., j] *= kept
    return out


def prox_nuclear(leaf: np.ndarray, step: float, *, strength: float) -> np.ndarray:
    """Cai, Candes and Shen 2010, equation (2.2)."""
    u, s, vt = np.linalg.svd(np.reshape(leaf, (-1, leaf.shape[-1] if leaf.ndim > 1 else 1)), full_matrices=False)
    return sum(max(s[k] - step * strength, 0) * np.outer(u[:, k], vt[k]) for k in range(len(s))).reshape(leaf.shape)


PROXIMAL = {
    "elastic_net": prox_elastic_net,
    "group_lasso": prox_group_lasso,
    "l1": lambda leaf, step, *, strength: prox_elastic_net(leaf, step, strength=strength, l1_ratio=1.0),
    "l2": lambda leaf, step, *, strength: prox_elastic_net(leaf, step, strength=strength, l1_ratio=0.0),
    "nonnegative": lambda leaf: np.array([max(x, 0.0) for x in leaf.ravel()]).reshape(leaf.shape),
    "nuclear": prox_nuclear,
}


def simplex(leaf: np.ndarray, *, radius: float = 1.0) -> np.ndarray:
    """Duchi et al. 2008, figure 1, line by line."""
    v = np.ravel(leaf).astype(np.float64)
    if radius == 0:
        return np.zeros(leaf.shape)
    mu = sorted(v, reverse=True)
    rho = max(j for j in range(1, len(v) + 1) if mu[j - 1] - (sum(mu[:j]) - radius) / j > 0)
    theta = (sum(mu[:rho]) - radius) / rho
    return np.array([max(x - theta, 0.0) for x in v]).reshape(leaf.shape)


def l1_ball(leaf: np.ndarray, *, radius: float) -> np.ndarray:
    """Duchi et al. 2008, section 4."""
    if np.abs(leaf).sum() <= radius:
        return leaf
    return np.sign(leaf) * simplex(np.abs(leaf), radius=radius)


def l2_ball(leaf: np.ndarray, *, radius: float) -> np.ndarray:
    """The whole leaf as one vector."""
    norm = np.sqrt((leaf**2).sum())
    return leaf * radius / norm if norm > radius else leaf


def max_norm(leaf: np.ndarray, *, radius: float) -> np.ndarray:
    """Srivastava et al. 2014, section 5.1, unit by unit; vectors are biases."""
    if leaf.ndim < 2:
        return leaf
    return np.stack([l2_ball(leaf[..., j], radius=radius) for j in range(leaf.shape[-1])], axis=-1)


def unit_norm(leaf: np.ndarray) -> np.ndarray:
    """Salimans and Kingma 2016, equation (2), with g = 1."""
    return leaf if leaf.ndim < 2 else np.stack([v / np.linalg.norm(v) for v in np.moveaxis(leaf, -1, 0)], axis=-1)


PROJECTIONS = {
    "box": lambda leaf, *, low, high: np.minimum(np.maximum(leaf, low), high),
    "l1_ball": l1_ball,
    "l2_ball": l2_ball,
    "linf_ball": lambda leaf, *, radius: np.minimum(np.maximum(leaf, -radius), radius),
    "max_norm": max_norm,
    "nonnegative": lambda leaf: np.maximum(leaf, 0),
    "simplex": simplex,
    "unit_norm": unit_norm,
}
