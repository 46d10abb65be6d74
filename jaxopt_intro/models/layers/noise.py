"""NNX layers whose numbers may be traced."""

from __future__ import annotations

from typing import Any

from flax import nnx

from jaxopt_intro.regularizers import stochastic
from jaxopt_intro.typing import Array, Number


class Dropout(nnx.Dropout):
    """Dropout as a layer: a drop-in for `flax.nnx.Dropout`, which refuses a traced rate.

    Args:
        rate: The probability of dropping, in `[0, 1]`. May be traced.
        **options: Those of `flax.nnx.Dropout`: `rngs`, where the noise comes from (its stream `dropout`),
            `broadcast_dims`, `deterministic`, `rng_collection`.

    Examples:
        >>> import jax.numpy as jnp
        >>> layer = Dropout(0.5, rngs=nnx.Rngs(0))
        >>> layer.eval()
        >>> layer(jnp.ones(2)).tolist()
        [1.0, 1.0]
    """

    def __init__(self, rate: Number, **options: Any):
        super().__init__(rate, **options)  # type: ignore[arg-type] - it is stored, and refused only by its own call

    def __call__(self, inputs: Array, *, deterministic: bool | None = None, rngs: Any = None) -> Array:
        off = self.deterministic if deterministic is None else deterministic
        if off is None:
            raise ValueError(
                f"{type(self).__name__}: got deterministic None; expected True or False. Pass it to the layer or "
                "to its call."
            )
        if off:
            return inputs
        return self._drop(inputs, self._key(self.rngs if rngs is None else rngs))

    def _drop(self, inputs: Array, key: Array) -> Array:
        return stochastic.dropout(inputs, self.rate, key=key, broadcast_dims=self.broadcast_dims)

    def _key(self, rngs: Any) -> Array:
        if rngs is None:
            raise ValueError(
                f"{type(self).__name__}: got no rngs; expected them, since noise needs a key. Pass rngs to the layer "
                "or to its call, or call eval() first."
            )
        stream = rngs[self.rng_collection] if isinstance(rngs, nnx.Rngs) else rngs
        return stream() if isinstance(stream, nnx.RngStream) else stream


class StochasticDepth(Dropout):
    """Stochastic depth as a layer: drops the whole residual branch of an example while training.

    It wraps the branch alone: `x + StochasticDepth(0.2, rngs=rngs)(branch(x))`.

    Args:
        rate: The probability of dropping, in `[0, 1]`. May be traced.
        **options: Those of `Dropout`; `broadcast_dims` has no effect.

    References:
        Huang et al. 2016, Deep networks with stochastic depth, section 3.

    Examples:
        >>> import jax.numpy as jnp
        >>> layer = StochasticDepth(1.0, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((2, 1))).tolist()
        [[0.0], [0.0]]
        >>> layer.eval()
        >>> layer(jnp.ones((2, 1))).tolist()
        [[1.0], [1.0]]
    """

    def _drop(self, inputs: Array, key: Array) -> Array:
        return stochastic.stochastic_depth(inputs, self.rate, key=key)


class SpatialDropout(Dropout):
    """Spatial dropout as a layer: drops whole channels of each example while training.

    Args:
        rate: The probability of dropping, in `[0, 1]`. May be traced.
        **options: Those of `Dropout`; `broadcast_dims` has no effect.

    References:
        Tompson et al. 2015, Efficient object localization using convolutional networks.

    Examples:
        >>> import jax.numpy as jnp
        >>> layer = SpatialDropout(1.0, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((1, 2, 2, 1))).sum().tolist()
        0.0
    """

    def _drop(self, inputs: Array, key: Array) -> Array:
        return stochastic.spatial_dropout(inputs, self.rate, key=key)


class GaussianNoise(Dropout):
    """Normal noise, added to each element while training.

    Args:
        rate: The standard deviation, at least 0. May be traced.
        **options: Those of `Dropout`; `broadcast_dims` has no effect.

    References:
        Bishop 1995, Training with noise is equivalent to Tikhonov regularization.

    Examples:
        >>> import jax.numpy as jnp
        >>> layer = GaussianNoise(2.0, rngs=nnx.Rngs(0))
        >>> layer.eval()
        >>> layer(jnp.ones(2)).tolist()
        [1.0, 1.0]
    """

    def _drop(self, inputs: Array, key: Array) -> Array:
        return stochastic.gaussian_noise(inputs, self.rate, key=key)
