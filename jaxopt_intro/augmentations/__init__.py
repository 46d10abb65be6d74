"""Augmentations: `(images, strength, *, key) -> images`, what makes recognizing images hard, as much as one asks for.

Those of whole batches, `mixup` and `label_noise`, are `(inputs, targets, strength, *, key) -> (inputs, targets)`: one
that has an argument called `targets` is given them.

Images are floats `[batch, height, width, channels]` in any range: nothing here clips, nor takes 0 for black. What
comes in from outside the frame is the nearest edge pixel, what is hidden becomes the image's own mean. Strength 0 is
the exact identity. Each image has a key of its own, `fold_in(key, index)`, so what happens to it never depends on the
others. The strength may be traced; its derivative is pathwise: the draws are held.
"""

from jaxopt_intro.augmentations.appearance import brightness, clutter, contrast, lighting, noise, occlude
from jaxopt_intro.augmentations.batches import Mixed, label_noise, mixup, of_mixed
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
    "mixup": mixup,
    "label_noise": label_noise,
}

__all__ = [
    "AUGMENTATIONS", "Mixed", "brightness", "clutter", "contrast", "deform", "flip", "label_noise", "lighting", "mixup",
    "noise", "occlude", "of_mixed", "rotate", "shear", "shift", "zoom",
]  # fmt: skip
