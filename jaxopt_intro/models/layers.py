"""NNX layers whose numbers may be traced."""

from __future__ import annotations

from flax import nnx

from jaxopt_intro.regularizers import stochastic
from jaxopt_intro.typing import Array, Number


class _Noise(nnx.Module):
    """A rate, a stream of keys, and whether it is off."""

    def __init__(self, rate: Number, *, rngs: nnx.Rngs):
        self.rate = rate
        self.deterministic = False
        self.rngs = rngs.dropout.fork() if hasattr(rngs.dropout, "fork") else rngs


class Dropout(_Noise):
    """Dropout as a layer: a drop-in for `flax.nnx.Dropout`, which refuses a traced rate.

    Args:
        rate: The probability of dropping, in `[0, 1]`. May be traced.
        rngs: Where the noise comes from: its stream `dropout`.

    Examples:
        >>> import jax.numpy as jnp
        >>> layer = Dropout(0.5, rngs=nnx.Rngs(0))
        >>> layer.eval()
        >>> layer(jnp.ones(2)).tolist()
        [1.0, 1.0]
    """

    def __call__(self, x: Array) -> Array:
        return x if self.deterministic else stochastic.dropout(x, self.rate, key=self.rngs())


class StochasticDepth(_Noise):
    """Stochastic depth as a layer: drops the whole residual branch of an example while training.

    It wraps the branch alone: `x + StochasticDepth(0.2, rngs=rngs)(branch(x))`.

    Args:
        rate: The probability of dropping, in `[0, 1]`. May be traced.
        rngs: Where the noise comes from: its stream `dropout`.

    References:
        Huang et al. 2016, Deep networks with stochastic depth, equations (2) and (5).

    Examples:
        >>> import jax.numpy as jnp
        >>> layer = StochasticDepth(1.0, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((2, 1))).tolist()
        [[0.0], [0.0]]
        >>> layer.eval()
        >>> layer(jnp.ones((2, 1))).tolist()
        [[1.0], [1.0]]
    """

    def __call__(self, x: Array) -> Array:
        return x if self.deterministic else stochastic.stochastic_depth(x, self.rate, key=self.rngs())
