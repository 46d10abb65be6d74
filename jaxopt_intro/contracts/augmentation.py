"""An augmentation: an image for an image, each alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_intro import routing
from jaxopt_intro.contracts.measuring import of_numbers, shapes
from jaxopt_intro.contracts.subject import (
    Checked,
    broken,
    checked,
    short,
    subject_of,
)
from jaxopt_intro.typing import Array


def check_augmentation(
    augmentation: Callable[..., Array],
    *,
    images: Any = None,
    strength: float = 0.5,
    numbers: Mapping[str, float] | None = None,
    positive: Collection[str] = (),
) -> Checked:
    """Checks an augmentation: contracts 1 to 3 for its strength and numbers, and images for images.

    Args:
        augmentation: `(images, strength, *, key) -> images`.
        images: `[batch, height, width, channels]`, two images or more; None takes four of 8 x 8.
        strength: Inside its range.
        numbers: A value for each other number, inside its range; None takes the defaults.
        positive: Numbers that are more than 0, such as a temperature: nothing is asked of them at 0.

    Returns:
        What was checked.

    Raises:
        Broken: The augmentation breaks a contract.

    Examples:
        >>> def noise(images, strength, *, key):
        ...     return images + strength * jax.random.normal(key, images.shape, images.dtype)
        >>> check_augmentation(noise).contracts[0]
        ('traceable', 'strength')
    """
    takes = routing.parameters(augmentation)
    if list(takes)[1:2] != ["strength"] or "key" not in takes:
        raise ValueError(
            f"check_augmentation: got {routing.own_name(augmentation)}({', '.join(takes)}); expected (images, "
            "strength, *, key, ...) -> images. Those that take targets are not checked."
        )
    drawn = np.random.default_rng(0).uniform(size=(4, 8, 8, 1)) if images is None else np.asarray(images)
    key = jax.random.key(5)

    def run(given: Mapping[str, Any], dtype: Any) -> Array:
        others = {name: value for name, value in given.items() if name != "strength"}
        return augmentation(jnp.asarray(drawn, dtype), given["strength"], key=key, **others)

    given = {"strength": strength, **(numbers or {})}
    subject = subject_of("augmentation", augmentation, run, given, constructs=False, positive=positive)
    if shapes(subject).shape != drawn.shape:
        raise broken(
            subject, 4, "shaped", f"got images of shape {shapes(subject).shape} for {drawn.shape}; expected the same. "
            "Crop or pad back to the size that came in",
        )  # fmt: skip
    passed = of_numbers(subject)
    plain = jnp.asarray(drawn, jnp.float32)
    same = jax.jit(lambda s: run({**subject.numbers, "strength": s}, jnp.float32))(jnp.float32(0))
    if not np.array_equal(same, plain):
        raise broken(
            subject, 4, "shaped", f"strength 0 changes images, by up to {short(jnp.max(jnp.abs(same - plain)))}; "
            "expected them exactly. Let the strength multiply what is added or moved",
        )  # fmt: skip
    whole = run(subject.numbers, jnp.float32)
    changed = augmentation(
        plain.at[-1].set(0.5), strength, key=key, **{n: v for n, v in subject.numbers.items() if n != "strength"}
    )
    if not np.array_equal(whole[0], changed[0]):
        raise broken(
            subject, 4, "shaped", "the first image's result depends on the last image. Treat each image alone",
        )  # fmt: skip
    twins = augmentation(
        jnp.stack([plain[0]] * 8), strength, key=key, **{n: v for n, v in subject.numbers.items() if n != "strength"}
    )
    if np.array_equal(twins, jnp.stack([twins[0]] * 8)) and not np.array_equal(twins[0], plain[0]):
        raise broken(
            subject, 4, "shaped", "eight equal images are changed alike. Give each image a key of its own: "
            "jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(images)))",
        )  # fmt: skip
    return checked(subject, passed, "shaped", "identity at 0", "each image alone", "a key for each image")
