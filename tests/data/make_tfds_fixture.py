"""Writes tests/data/tfds: two tiny prepared data sets, as tensorflow-datasets itself prepares them.

    pip install tensorflow-cpu tensorflow-datasets importlib_resources pillow
    python tests/data/make_tfds_fixture.py tests/data/tfds

Needs TensorFlow, which the tests that read these files do not have. `tiny_images` holds 12 + 5 images of one
size; `tiny_ragged` holds images of two sizes.
"""

import sys

import numpy as np
import tensorflow_datasets as tfds


def picture(index: int, height: int = 4) -> np.ndarray:
    """Returns the image of one example: every byte says which example and which pixel it is."""
    return (np.arange(height * 5 * 3).reshape(height, 5, 3) + 7 * index).astype(np.uint8)


class TinyImages(tfds.core.GeneratorBasedBuilder):
    """Images of one size."""

    VERSION = tfds.core.Version("1.0.0")
    HEIGHTS = (4,)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Made by tests/data/make_tfds_fixture.py.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, 5, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=["cat", "dog", "frog"]),
                }
            ),
            supervised_keys=("image", "label"),
            citation="@misc{tiny}",
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"train": self._generate_examples(0, 12), "test": self._generate_examples(12, 17)}

    def _generate_examples(self, start, stop):
        for index in range(start, stop):
            height = self.HEIGHTS[index % len(self.HEIGHTS)]
            yield index, {"image": picture(index, height), "label": index % 3}


class TinyRagged(TinyImages):
    """Images of two sizes."""

    VERSION = tfds.core.Version("1.0.0")
    HEIGHTS = (4, 6)


if __name__ == "__main__":
    for builder in (TinyImages, TinyRagged):
        builder(data_dir=sys.argv[1], file_format="array_record").download_and_prepare()
