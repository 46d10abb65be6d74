"""What changes a batch and not one image: mixtures of examples, and wrong labels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxopt_intro.augmentations.per_image import exact_at_zero
from jaxopt_intro.trees import at_least_float32
from jaxopt_intro.typing import Array, Labels, Number, PyTree


def mixup(
    inputs: Float[Array, "batch *rest"], targets: PyTree, strength: Number, *, key: Array
) -> tuple[Array, tuple[PyTree, PyTree, Float[Array, " batch"]]]:
    """Mixes each example with another of its batch.

        draw   ~ Beta(strength, strength), one for each example
        weight = max(draw, 1 - draw)
        inputs = weight * inputs + (1 - weight) * inputs[order],   order a random permutation

    The loss to take is `weight * loss(outputs, targets) + (1 - weight) * loss(outputs, other_targets)`. The paper's
    weight is the draw itself. Which example of a pair is called the first is chance, so mixtures and losses have the
    same distribution; but here strength 0 is the identity, and the limit of small strengths.

    Args:
        inputs: Examples of any shape, floats.
        targets: What belongs to them: an array or tree, the batch axis first.
        strength: The paper's alpha, at least 0. May be traced; the derivative is pathwise, and 0 at strength 0.
        key: A key for this call alone.

    Returns:
        The mixed inputs, and `(targets, other_targets, weight)`.

    References:
        Zhang et al. 2018, mixup: beyond empirical risk minimization, equation (1); the maximum is that of Berthelot et
        al. 2019, MixMatch, equation (9).

    Examples:
        >>> x, y = jnp.array([[1.0], [5.0]]), jnp.array([0, 1])
        >>> mixed, (targets, others, weight) = mixup(x, y, 0.2, key=jax.random.key(0))
        >>> mixed.shape, targets.tolist(), weight.shape
        ((2, 1), [0, 1], (2,))
    """
    strength = at_least_float32(jnp.asarray(strength))
    for_order, for_weight = jax.random.split(key)
    order = jax.random.permutation(for_order, len(inputs))
    shape = jnp.maximum(strength, 1e-6)  # there is no Beta(0, 0); at 1e-6 all but one in 100,000 weights are 1
    draw = jax.random.beta(for_weight, shape, shape, (len(inputs),))
    weight = exact_at_zero(strength, jnp.maximum(draw, 1 - draw), jnp.ones_like(draw))
    wide = at_least_float32(inputs)
    each = weight.reshape(-1, *(1,) * (inputs.ndim - 1))
    mixed = (each * wide + (1 - each) * wide[order]).astype(inputs.dtype)
    others = jax.tree.map(lambda x: x[order], targets)
    return exact_at_zero(strength, mixed, inputs), (targets, others, weight)


def label_noise(labels: Labels, strength: Number, *, key: Array, classes: Number) -> Labels:
    """Replaces each label, with probability `strength`, by one of the other classes, all equally likely.

    Every label has its own key. Labels that are no class stay as they are.

    Args:
        labels: Integer classes in `[0, classes)`.
        strength: The share of labels that become wrong, in `[0, 1]`. May be traced.
        key: A key for this call alone.
        classes: How many classes there are, at least 2. May be traced.

    Returns:
        The labels, in their dtype.

    References:
        Natarajan et al. 2013, Learning with noisy labels, section 2, for several classes. Zhang et al. 2017,
        Understanding deep learning requires rethinking generalization, draw from all classes, the right one too: their
        rate is `classes / (classes - 1)` times this one.

    Examples:
        >>> label_noise(jnp.array([0, 1, 1]), 1.0, key=jax.random.key(0), classes=2).tolist()
        [1, 0, 0]
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(labels.size))

    def other(label: Array, key: Array) -> Array:
        for_choice, for_class = jax.random.split(key)
        wide = label.astype(jnp.promote_types(label.dtype, jnp.int32))  # 200 + 100 wraps around in uint8
        replaced = (wide + jax.random.randint(for_class, (), 1, classes)) % classes
        chosen = (jax.random.uniform(for_choice) < strength) & (wide >= 0) & (wide < classes)
        return jnp.where(chosen, replaced, wide).astype(label.dtype)

    return jax.vmap(other)(labels.ravel(), keys).reshape(labels.shape)
