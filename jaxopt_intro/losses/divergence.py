"""Divergences of distributions: logits of the predicted one, probabilities of the target, along the last axis.

Logits, not probabilities, are predicted: the gradient by a probability is infinite at 0, that by a logit is not. A
logit may be `-inf`. For predicted probabilities pass their logarithms.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxopt_intro.checks import vectors
from jaxopt_intro.trees import at_least_float32
from jaxopt_intro.typing import Array


def kl(logits: Float[Array, "*batch classes"], targets: Float[Array, "*batch classes"]) -> Float[Array, "*batch"]:
    """Kullback and Leibler's divergence of the prediction from the target.

        loss = sum(targets * (log(targets) - log_softmax(logits)))

    Cross entropy with soft targets is this plus the targets' entropy, so both have the same gradient by the logits.

    Args:
        logits: Scores before the softmax. One of `-inf` where the target is not 0 makes the loss infinite.
        targets: Probabilities that sum to 1; zeros are fine.

    Returns:
        The divergence of each example, in float32 or wider.

    Raises:
        ValueError: The shapes differ, or there is no axis.

    References:
        Cover and Thomas 2006, Elements of Information Theory, section 2.3.

    Examples:
        >>> [round(v, 4) for v in kl(jnp.zeros((1, 2)), jnp.array([[1.0, 0.0]])).tolist()]
        [0.6931]
    """
    vectors(logits, targets, function="kl")
    log_p, targets = jax.nn.log_softmax(at_least_float32(logits), axis=-1), at_least_float32(targets)
    zero = targets == 0
    surplus = jnp.log(jnp.where(zero, 1.0, targets)) - jnp.where(zero, 0.0, log_p)
    return jnp.sum(targets * surplus, axis=-1)


def jensen_shannon(
    logits: Float[Array, "*batch classes"], targets: Float[Array, "*batch classes"]
) -> Float[Array, "*batch"]:
    """Jensen and Shannon's divergence: symmetric, and at most log(2).

        p    = softmax(logits)
        m    = (p + targets) / 2
        loss = 0.5 * sum(p * log(p / m)) + 0.5 * sum(targets * log(targets / m))

    Args:
        logits: Scores before the softmax; `-inf` is fine.
        targets: Probabilities that sum to 1; zeros are fine.

    Returns:
        The divergence of each example, in float32 or wider.

    Raises:
        ValueError: The shapes differ, or there is no axis.

    References:
        Lin 1991, Divergence Measures Based on the Shannon Entropy, section IV, with weights of one half.

    Examples:
        >>> logits, targets = jnp.array([[0.0, -jnp.inf]]), jnp.array([[0.0, 1.0]])
        >>> [round(v, 4) for v in jensen_shannon(logits, targets).tolist()]
        [0.6931]
    """
    vectors(logits, targets, function="jensen_shannon")
    log_p, targets = jax.nn.log_softmax(at_least_float32(logits), axis=-1), at_least_float32(targets)
    log_p = jnp.maximum(log_p, jnp.finfo(log_p.dtype).min / 4)  # times exp(log_p) = 0 it must be 0, not NaN
    zero = targets == 0
    ratio = jnp.log(jnp.where(zero, 1.0, targets)) - log_p  # log(p / m) = log(2) - softplus(log(targets / p))
    from_p = jnp.exp(log_p) * (math.log(2) - jnp.where(zero, 0.0, jax.nn.softplus(ratio)))
    from_targets = targets * (math.log(2) - jnp.where(zero, 0.0, jax.nn.softplus(-ratio)))
    return 0.5 * jnp.sum(from_p + from_targets, axis=-1)
