"""One update for several microbatches."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxopt_intro.optimizers.when import when
from jaxopt_intro.optimizers.wrappers.inside import in_dtypes_of, wrapping
from jaxopt_intro.trees import at_least_float32, zeros_at_least_float32
from jaxopt_intro.typing import Array, AtLeastOne, PyTree, Size


class AccumulateState(NamedTuple):
    """Microbatches since the last update, the sums of their gradients and values, and the inner state."""

    microbatches: Array
    grads: PyTree
    value: Array
    inner: Any


@wrapping
def accumulate(inner: optax.GradientTransformation, *, every: AtLeastOne) -> optax.GradientTransformationExtraArgs:
    """Updates once every `every` microbatches, by the mean of their gradients; in between nothing moves.

        sum = sum + grads
        n   = n + 1
        updates = updates of inner for sum / n, then sum = n = 0          where n >= every
        updates = 0, and inner keeps its state                            else

    What is inside counts updates, what is around it microbatches. So a schedule that multiplies the learning rate by a
    function of the training's step sees microbatches. Where `every` changes, the mean is still that of the microbatches
    that were added, and an update comes as soon as there are `every`. The inner optimizer is told the mean of the
    values and of the gradients, but `value_fn` is of the last microbatch: what asks it again, such as `sam` and line
    searches, goes around `accumulate`, or without it. The mean is that of one large batch if all
    microbatches have the same size. `optax.MultiSteps` does the same for a count that is not traced, without values.
    `every = 1` is the inner optimizer.

    Args:
        inner: The optimizer.
        every: How many microbatches an update has, at least 1; a broken number is rounded up. May be traced; its
            derivative is 0.

    Returns:
        The optimizer.

    References:
        Goyal et al. 2017, Accurate, large minibatch SGD, section 2.1: the one step with a minibatch of k parts.

    Examples:
        >>> optimizer = accumulate(optax.sgd(1.0), every=2)
        >>> state = optimizer.init(jnp.zeros(1))
        >>> first, state = optimizer.update(jnp.array([3.0]), state)
        >>> second, state = optimizer.update(jnp.array([5.0]), state)
        >>> first.tolist(), second.tolist()
        ([0.0], [-4.0])
    """
    inner = optax.with_extra_args_support(inner)

    def init(params: PyTree) -> AccumulateState:
        sums = zeros_at_least_float32(params)
        return AccumulateState(jnp.zeros((), jnp.int32), sums, jnp.zeros(()), inner.init(params))

    def update(updates: PyTree, state: Any, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, Any]:
        n, has_value = state.microbatches + 1, extra.get("value") is not None
        total = jax.tree.map(lambda s, g: (s + at_least_float32(g)).astype(s.dtype), state.grads, updates)
        value = (state.value + jnp.asarray(extra["value"] if has_value else 0.0)).astype(state.value.dtype)

        def emit(waiting: tuple[PyTree, Any]) -> tuple[PyTree, Any]:
            del waiting
            mean = in_dtypes_of(jax.tree.map(lambda s: s / n, total), updates, None)
            told = {**extra, "value": value / n} if has_value else extra
            told = {**told, "grad": mean} if "grad" in told else told
            new, inner_state = inner.update(mean, state.inner, params, **told)
            zeros = jax.tree.map(jnp.zeros_like, total)
            new = in_dtypes_of(new, updates, params)
            return new, AccumulateState(jnp.zeros_like(n), zeros, jnp.zeros_like(value), inner_state)

        still = in_dtypes_of(jax.tree.map(jnp.zeros_like, updates), updates, params)
        return when(n >= every, emit, (still, AccumulateState(n, total, value, state.inner)))

    return optax.GradientTransformationExtraArgs(init, update)


@wrapping
def batches(
    inner: optax.GradientTransformation, *, batch_size: AtLeastOne, microbatch: Size
) -> optax.GradientTransformationExtraArgs:
    """Updates once for every `batch_size` examples, of which each step sees a microbatch: the batch size, traced.

    It is `accumulate` of `batch_size / microbatch` microbatches, to the nearest whole number and at least one. So
    trials with different batch sizes see the same microbatches, as one program; a schedule of the batch size anneals
    without a smaller learning rate; and a batch may be larger than memory holds. What a microbatch computes of itself,
    such as the statistics of batch normalization, it computes of its own examples.

    Args:
        inner: The optimizer.
        batch_size: Examples of an update. May be traced; its derivative is 0.
        microbatch: Examples of a step. Static.

    Returns:
        The optimizer.

    References:
        Smith et al. 2018, Don't decay the learning rate, increase the batch size; Hoffer et al. 2017, Train longer,
        generalize better, section 4 (statistics of small batches).

    Examples:
        >>> optimizer = batches(optax.sgd(1.0), batch_size=64, microbatch=32)
        >>> state = optimizer.init(jnp.zeros(1))
        >>> first, state = optimizer.update(jnp.array([3.0]), state)
        >>> second, state = optimizer.update(jnp.array([5.0]), state)
        >>> first.tolist(), second.tolist()
        ([0.0], [-4.0])
    """
    return accumulate(inner, every=jnp.maximum(1.0, jnp.round(jnp.asarray(batch_size, jnp.float32) / microbatch)))
