"""An augmentation: an image for an image, each alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_intro import routing
from jaxopt_intro.augmentations import Mixed, of_mixed
from jaxopt_intro.contracts.measuring import called, of_numbers
from jaxopt_intro.contracts.subject import (
    Checked,
    Subject,
    arguments,
    array_shape,
    broken,
    cast,
    checked,
    kinds,
    short,
    subject_of,
    words,
)
from jaxopt_intro.typing import Array, PyTree

# Neither square nor of one channel.
IMAGES = np.random.default_rng(0).uniform(size=(4, 8, 6, 3))
# Each image its own class, so that no exchange of two goes unseen.
CLASSES = np.array([3, 0, 2, 1], np.int32)


def check_augmentation(
    augmentation: Callable[..., Any],
    *,
    images: Any = None,
    targets: Any = None,
    strength: float = 0.5,
    numbers: Mapping[str, float] | None = None,
    positive: Collection[str] = (),
) -> Checked:
    """Checks an augmentation: contracts 1 to 3 for its strength and numbers, and images for images.

    Shapes and dtypes stay, also bfloat16. Strength 0 changes nothing, neither in these images nor in normalized ones,
    with values from -2 to 2. At the given strength another key gives other images, or other targets.

    Args:
        augmentation: `(images, strength, *, key) -> images`, or `(inputs, targets, strength, *, key) -> (inputs,
            targets)`, with `augmentations.Mixed` targets if it mixes examples: then it need not treat each alone.
        images: `[batch, height, width, channels]`, two images or more; None takes four of
            8 x 6 with three channels.
        targets: What belongs to them; None takes four classes. One that takes `classes` is told how many.
        strength: Inside its range.
        numbers: A value for each other number, inside its range; None takes the defaults. None in place of
            a value leaves a number out, such as a count.
        positive: Numbers that are more than 0, such as a temperature: nothing is asked of them at 0.

    Returns:
        What was checked.

    Raises:
        Broken: The augmentation breaks a contract.

    Examples:
        >>> def noise(images, strength, *, key):
        ...     return (images + strength * jax.random.normal(key, images.shape)).astype(images.dtype)
        >>> check_augmentation(noise).contracts[0]
        ('traceable', 'strength')
    """
    takes = arguments("augmentation", augmentation)
    with_targets = "targets" in takes
    if list(takes)[1 : 2 + with_targets] != ["targets", "strength"][not with_targets :] or "key" not in takes:
        raise ValueError(
            f"check_augmentation: got {routing.own_name(augmentation)}({', '.join(takes)}); expected (images, "
            "strength, *, key, ...) -> images, or (inputs, targets, strength, *, key, ...) -> (inputs, targets). Name "
            "its arguments so."
        )
    drawn = np.asarray(IMAGES if images is None else images)
    labels = np.asarray(CLASSES if targets is None else targets)
    told: dict[str, Any] = {"key": jax.random.key(5)}
    if "classes" in takes:
        told["classes"] = int(np.max(labels)) + 1

    def apply(images: Any, labels: Any, given: Mapping[str, Any], **another: Any) -> PyTree:
        others = {name: value for name, value in given.items() if name != "strength"} | another
        data = (images, jnp.asarray(labels)) if with_targets else (images,)
        return augmentation(*data, given["strength"], **{**told, **others})

    def run(given: Mapping[str, Any], dtype: Any) -> PyTree:
        return apply(jnp.asarray(drawn, dtype), cast(labels, dtype), given)

    given = {"strength": strength, **(numbers or {})}
    subject = subject_of("augmentation", augmentation, run, given, positive=positive)
    usual, plain = called(subject), jnp.asarray(drawn, jnp.float32)
    if with_targets and not (type(usual) is tuple and len(usual) == 2):
        raise broken(
            subject, "shaped", f"got a {type(usual).__name__}; expected (inputs, targets), since it takes targets. "
            "Return both",
        )  # fmt: skip
    changed, new_labels = usual if with_targets else (usual, cast(labels, jnp.float32))
    mend = "Crop or pad back to the size that came in"
    if (shape := array_shape(subject, changed, f"images of shape {drawn.shape}", mend)) != drawn.shape:
        raise broken(subject, "shaped", f"got images of shape {shape} for {drawn.shape}; expected the same. {mend}")
    _check_targets(subject, new_labels, cast(labels, jnp.float32))
    passed = of_numbers(subject, usual)

    def pair(images: Any, labels: Any, strength: Any) -> tuple[Array, PyTree]:
        result = apply(images, labels, {**subject.numbers, "strength": strength})
        return result if with_targets else (result, jnp.asarray(labels))

    for dtype in (jnp.bfloat16, jnp.float32):
        kept = jax.eval_shape(pair, jnp.asarray(drawn, dtype), jnp.asarray(labels), jnp.float32(strength))[0].dtype
        if kept != dtype:
            raise broken(
                subject, "shaped", f"got {kept} for {jnp.dtype(dtype)} images; expected the same, so that the model "
                "computes as it would without. Cast last of all: .astype(images.dtype)",
            )  # fmt: skip
    # As a training runs it: traced, and with all optimizations.
    unchanged = jax.jit(pair)
    for what, before in (("images", plain), ("normalized images", 4 * plain - 2)):
        same, same_labels = unchanged(before, jnp.asarray(labels), jnp.float32(0))
        if not np.array_equal(same, before):
            raise broken(
                subject, "shaped", f"strength 0 changes {what}, by up to {short(jnp.max(jnp.abs(same - before)))}; "
                "expected them exactly. Let the strength multiply what is added or moved, and clip nothing",
            )  # fmt: skip
    wide = jnp.asarray(labels, jnp.float32)
    if not np.array_equal(of_mixed(lambda t: jnp.asarray(t, jnp.float32), same_labels), wide):
        raise broken(
            subject, "shaped", f"strength 0 changes targets, from {short(wide)}; expected them exactly. Let strength 0 "
            "be the probability, or the weight, of no change",
        )  # fmt: skip
    mixes = isinstance(new_labels, Mixed)
    if not mixes:
        _check_each_alone(subject, lambda images, labels: pair(images, labels, strength), plain, labels)
    # Four keys, since a flip or a wrong label may fall alike by chance, with four images once in 4096 times.
    keys = map(jax.random.key, range(6, 9))
    results = (apply(plain, labels, subject.numbers, key=key) for key in keys)
    if all(_equal(result, usual) for result in results):
        raise broken(
            subject, "shaped", f"at strength {strength:g} every key gives the same. Draw what happens from the key",
        )  # fmt: skip
    others = () if mixes else ("each image alone", "a key for each image")
    return checked(subject, passed, "shaped", "identity at 0", "random", *others)


def _equal(a: PyTree, b: PyTree) -> bool:
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


def _check_targets(subject: Subject, new: PyTree, old: Array) -> None:
    """Targets are as they were, or `Mixed` of such with a weight for each."""
    if isinstance(new, Mixed):
        _check_targets(subject, new.own, old)
        _check_targets(subject, new.other, old)
        if jnp.shape(new.weight) != old.shape[:1]:
            raise broken(
                subject, "shaped", f"got weights {words(new.weight)} for {len(old)} examples; expected one for each. "
                "Return augmentations.Mixed(own, other, weight)",
            )  # fmt: skip
    elif not hasattr(new, "dtype") or kinds(new) != kinds(old):
        raise broken(
            subject, "shaped", f"got targets {words(new)} for {words(old)}; expected the same, or augmentations.Mixed "
            "of such. Keep their shape and dtype",
        )  # fmt: skip


def _check_each_alone(subject: Subject, change: Callable[..., Any], images: Array, labels: np.ndarray) -> None:
    """Another last image changes nothing for the first; of equal ones not all are changed alike."""
    first = [jnp.asarray(x)[0] for x in change(images, labels)]
    beside_another = [x[0] for x in change(images.at[-1].set(0.5), np.append(labels[:-1], labels[:1], axis=0))]
    if not all(map(np.array_equal, first, beside_another)):
        raise broken(
            subject, "shaped", "the first image's result depends on the last image. Treat each image alone",
        )  # fmt: skip
    one = images[0], jnp.asarray(labels[0])
    for old, twins in zip(one, change(*(jnp.stack([x] * 8) for x in one)), strict=True):
        if np.array_equal(twins, jnp.stack([twins[0]] * 8)) and not np.array_equal(twins[0], old):
            raise broken(
                subject, "shaped", "eight equal images are changed alike. Give each image a key of its own: "
                "jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(images)))",
            )  # fmt: skip
