"""Augmentations: `(images, strength, *, key) -> images`, what makes recognizing images hard, as much as one asks for.

Images are floats `[batch, height, width, channels]` in any range: nothing here clips, nor takes 0 for black. What
comes in from outside the frame is the nearest edge pixel, what is hidden becomes the image's own mean. Strength 0 is
the exact identity. Each image has a key of its own, `fold_in(key, index)`, so what happens to it never depends on the
others. The strength may be traced; its derivative is pathwise: the draws are held. Several in a row are a function of
one's own:

    >>> import jax, jax.numpy as jnp
    >>> def moved(images, *, shift=0.1, rotate=0.2, key):
    ...     images = viewpoint.shift(images, shift, key=jax.random.fold_in(key, 0))
    ...     return viewpoint.rotate(images, rotate, key=jax.random.fold_in(key, 1))
    >>> moved(jnp.ones((2, 8, 8, 1)), key=jax.random.key(0)).shape
    (2, 8, 8, 1)
"""

from jaxopt_intro.augmentations import viewpoint
from jaxopt_intro.augmentations.appearance import brightness, clutter, contrast, lighting, noise, occlude
from jaxopt_intro.augmentations.batches import label_noise, mixup
from jaxopt_intro.augmentations.viewpoint import deform, flip, rotate, shear, shift, zoom

AUGMENTATIONS = {
    "shift": shift,
    "rotate": rotate,
    "zoom": zoom,
    "shear": shear,
    "flip": flip,
    "deform": deform,
    "clutter": clutter,
    "brightness": brightness,
    "contrast": contrast,
    "lighting": lighting,
    "occlude": occlude,
    "noise": noise,
}

__all__ = [
    "AUGMENTATIONS", "brightness", "clutter", "contrast", "deform", "flip", "label_noise", "lighting", "mixup", "noise",
    "occlude", "rotate", "shear", "shift", "viewpoint", "zoom",
]  # fmt: skip
