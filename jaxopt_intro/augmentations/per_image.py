"""How an augmentation reaches the images: each with its own key, and at strength 0 nothing changes."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxopt_intro.trees import at_least_float32
from jaxopt_intro.typing import Array, Number

Images = Float[Array, "batch height width channels"]
Image = Float[Array, "height width channels"]


def per_image(function: Callable[[Image, Array, Array], Image], images: Images, strength: Number, key: Array) -> Images:
    """Applies `(image, strength, key) -> image` to each image, in float32 or wider.

    Args:
        function: What happens to one image; it may draw from its key.
        images: Floats `[batch, height, width, channels]`.
        strength: At 0 the images are returned as they are, bit by bit. May be traced.
        key: A key for this call alone.

    Returns:
        The images, in their dtype.

    Raises:
        ValueError: The images are not four axes of floats, or the strength is not one number.

    Examples:
        >>> def brighter(image, strength, key):
        ...     return image + strength * jax.random.uniform(key)
        >>> per_image(brighter, jnp.ones((2, 1, 1, 1)), 0.0, jax.random.key(0)).ravel().tolist()
        [1.0, 1.0]
    """
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
        axes = "Add the missing axis: images[..., None]." if images.ndim == 3 else "Reshape them."
        mend = "Cast: jnp.asarray(images, jnp.float32) / 255." if images.ndim == 4 else axes
        raise ValueError(
            f"augmentation: got images of shape {images.shape} and dtype {images.dtype}; expected floats [batch, "
            f"height, width, channels]. {mend}"
        )
    strength = at_least_float32(jnp.asarray(strength))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(images)))
    changed = jax.vmap(function, (0, None, 0))(at_least_float32(images), strength, keys)
    return exact_at_zero(strength, changed.astype(images.dtype), images)


@jax.custom_jvp
def exact_at_zero(strength: Array, changed: Array, images: Array) -> Array:
    """Returns `images` bit by bit where the strength is 0, otherwise `changed`; the derivative is that of `changed`.

    With a plain `where` it would be 0 at strength 0, and a search that starts there would never leave.

    Examples:
        >>> jax.grad(lambda s: exact_at_zero(s, 3 * s + 1, jnp.array(1.0)))(0.0).tolist()
        3.0
    """
    return jnp.where(strength == 0, images, changed)


@exact_at_zero.defjvp
def _derivative_of_changed(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    return exact_at_zero(*primals), tangents[1]


def signed_uniform(key: Array, *shape: int) -> Array:
    """Returns uniform draws from -1 to 1.

    Examples:
        >>> signed_uniform(jax.random.key(0), 2).shape
        (2,)
    """
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def smooth_noise(
    key: Array, height: int, width: int, copies: int, *, smoothness: Number
) -> Float[Array, "height width copies"]:
    """Returns Gaussian noise smoothed by a Gaussian, with variance 1 everywhere, also at the edges.

    It costs `2 * copies * height * width * (height + width)` operations: two matrix products.

    Args:
        key: A key for this call alone.
        height: Static.
        width: Static.
        copies: How many independent fields. Static.
        smoothness: The Gaussian's standard deviation as a share of the longer side; less than a tenth of a pixel counts
            as that. May be traced.

    Returns:
        The fields.

    Examples:
        >>> smooth_noise(jax.random.key(0), 8, 6, 2, smoothness=0.1).shape
        (8, 6, 2)
    """
    noise = jax.random.normal(key, (height, width, copies))
    width_in_pixels = jnp.maximum(at_least_float32(jnp.asarray(smoothness)) * max(height, width), 0.1)

    def rows(size: int) -> Array:
        apart = jnp.arange(size)[:, None] - jnp.arange(size)[None, :]
        weights = jnp.exp(-0.5 * jnp.square(apart / width_in_pixels))
        return weights / jnp.linalg.norm(weights, axis=1, keepdims=True)

    return jnp.einsum("ij,jkc,lk->ilc", rows(height), noise, rows(width))
