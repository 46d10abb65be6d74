"""Optimizers transcribed from the papers in float64 NumPy, one element at a time in mind, sharing no code with ours.

Each takes the first parameters, `gradient(params) -> grads`, how many steps, and its numbers; it returns the
parameters after each step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Gradient = Callable[[np.ndarray], np.ndarray]


def sgd(params: np.ndarray, gradient: Gradient, steps: int, *, learning_rate: float) -> np.ndarray:
    """Ruder 2016, equation (2)."""
    theta = np.array(params, np.float64)
    path = []
    for _ in range(steps):
        theta = theta - learning_rate * gradient(theta)
        path.append(theta)
    return np.stack(path)


def momentum(
    params: np.ndarray, gradient: Gradient, steps: int, *, learning_rate: float, momentum: float
) -> np.ndarray:
    """Polyak 1964, equation (9): `x[n+1] = x[n] - alpha * grad f(x[n]) + beta * (x[n] - x[n-1])`."""
    now = before = np.array(params, np.float64)
    path = []
    for _ in range(steps):
        now, before = now - learning_rate * gradient(now) + momentum * (now - before), now
        path.append(now)
    return np.stack(path)


def adam(
    params: np.ndarray, gradient: Gradient, steps: int, *, learning_rate: float, b1: float, b2: float, eps: float
) -> np.ndarray:
    """Kingma and Ba 2015, algorithm 1, line by line."""
    theta = np.array(params, np.float64)
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    path = []
    for t in range(1, steps + 1):
        g = gradient(theta)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        m_hat = m / (1 - b1**t)
        v_hat = v / (1 - b2**t)
        theta = theta - learning_rate * m_hat / (np.sqrt(v_hat) + eps)
        path.append(theta)
    return np.stack(path)


REFERENCES = {"sgd": sgd, "momentum": momentum, "adam": adam}
