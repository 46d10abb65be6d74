# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12. Convolutional networks
#
# What you will learn:
#
# - what a convolution computes, why it is a matrix product of patches, and what symmetry it has: it moves with the
#   image;
# - how few parameters it has, and how many operations each of them takes part in;
# - whether it helps, measured: linear, dense and convolutional models on the same images, each at its own best rate;
# - what it knows: the same comparison on images whose pixels are shuffled, and on images that are shifted;
# - what batch normalization and shortcuts add, and what a full run looks like.
#
# It follows Yao's lecture *An introduction to optimization methods in deep learning* (CIFAR-10, after CS231n), LeCun,
# Bottou, Bengio and Haffner 1998, *Gradient-based learning applied to document recognition*, and the papers that each
# section cites.
#
# A GPU is advised for `SIZE = "full"`; the small sizes run on two cores.

# %%
# In Colab, or wherever the package is missing, this installs it first.
import importlib.util
import pathlib
import subprocess
import sys

if importlib.util.find_spec("jaxopt_intro") is None:
    source = ".." if pathlib.Path("../pyproject.toml").exists() else "jaxopt_intro"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", source], check=True)

# %%
import functools
import os
import tempfile

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

from jaxopt_intro import Experiment, Space, Trial, choice, data, load_model, log_uniform, models, results, sweep
from jaxopt_intro.models import layers

SIZE = os.environ.get("JAXOPT_INTRO_SIZE", "small")  # "full": all images and more trials; minutes to hours on two cores
FULL = SIZE == "full"
plt.style.use("tableau-colorblind10")

# %% [markdown]
# ## The images
#
# CIFAR-10 (Krizhevsky 2009) has 50,000 + 10,000 images of 32x32 pixels in three colours, ten classes. What makes such
# images hard is listed in the lecture: viewpoint, deformation, clutter in the background, illumination, occlusion,
# and that members of one class differ more than some members of two classes. The data have no licence that lets us
# hand them on, so they are not part of the package; without them the notebook goes on with the embedded Fashion-MNIST.

# %%
SPLIT = (45_000, 5_000, 10_000) if FULL else (2_000, 1_000, 1_000)
try:
    whole, NAME = data.load("cifar10", valid=5_000, download=FULL), "CIFAR-10"
except data.DataUnavailable:
    print(
        "CIFAR-10 is not here: `jaxopt-intro data prepare cifar10` fetches it, `--source DIR` takes its files from DIR."
    )
    whole, NAME = data.load("fashion_mnist" if FULL else "fashion_mnist_small", valid=0.2), "Fashion-MNIST"

parts = [(x[:size], y[:size]) for (x, y), size in zip((whole.train, whole.valid, whole.test), SPLIT, strict=True)]
dataset = data.from_arrays(parts[0], valid=parts[1], test=parts[2], normalize=True, name=NAME)
(train_x, train_y), (valid_x, valid_y) = parts[:2]
class_names = whole.info.class_names
print(f"{NAME}: {len(train_x)} images train, {len(valid_x)} validate; each is {train_x.shape[1:]}")

# %% [markdown]
# How much do members of a class differ? (The committed notebook shows no picture here, since single images of
# CIFAR-10 must not be handed on; run the cell to see them.)

# %% tags=["not-committed"]
figure, axes = plt.subplots(5, 10, figsize=(9, 4.6), layout="constrained")
for column, name in enumerate(class_names):
    for row, image in enumerate(train_x[train_y == column][:5]):
        axes[row, column].imshow(image.squeeze(), cmap="gray")
        axes[row, column].set_axis_off()
    axes[0, column].set_title(name, fontsize="small")
plt.show()

# %% [markdown]
# In numbers: of how many validation images is the nearest training image, by the distance of pixels, of the same class?

# %%
flat = [np.asarray(x.reshape(len(x), -1), np.float32) / 255 for x in (train_x[:10_000], valid_x)]
squared = (flat[1] ** 2).sum(1)[:, None] - 2 * flat[1] @ flat[0].T + (flat[0] ** 2).sum(1)
nearest = float((train_y[squared.argmin(axis=1)] == valid_y).mean())
print(f"Nearest neighbour: {nearest:.1%} of the validation images, where chance is 10 %.")
assert nearest > 0.15, "pixels do tell something"

# %% [markdown]
# ## What a convolution is
#
# A dense layer gives every output a weight for every pixel. A convolution makes two assumptions: an output depends on
# a small window, and all places are treated alike. With a kernel $K$ of $3 \times 3$,
# $$\mathtt{out}[i, j, o] = \sum_{a, b, c} x[i + a,\, j + b,\, c]\; K[a, b, c, o].$$
# Collect the window of each output as a row, a *patch*: then all outputs are one matrix product, which is how
# processors like to compute it (`im2col`). Written out, beside the library's, which finds the fastest of several such
# ways for a machine:

# %%
x = jnp.asarray(train_x[:4], jnp.float32) / 255
height, width, channels = x.shape[1:]
kernel = jax.random.normal(jax.random.key(0), (3, 3, channels, 16))


def convolved(x, kernel):
    shifted = [x[:, a : height - 2 + a, b : width - 2 + b] for a in range(3) for b in range(3)]
    patches = jnp.concatenate(shifted, axis=-1)  # [image, height - 2, width - 2, 9 * channels]
    return patches @ kernel.reshape(-1, kernel.shape[-1])


def by_library(x, kernel, padding="VALID"):
    return layers.conv(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


difference = float(jnp.max(jnp.abs(convolved(x, kernel) - by_library(x, kernel))))
print(f"patches {9 * channels} wide, outputs {convolved(x, kernel).shape}; the largest difference is {difference:.0e}")
assert difference < 2e-2  # rounding, also of the 10-bit products of some GPUs

# %% [markdown]
# That all places are treated alike has a name, equivariance: shift the image, and the outputs shift with it. No dense
# layer has that.

# %%
moved_first = by_library(jnp.roll(x, (2, 3), axis=(1, 2)), kernel)[:, 2:, 3:]
moved_after = by_library(x, kernel)[:, :-2, :-3]
assert jnp.allclose(moved_first, moved_after, atol=2e-2), "shifting before is shifting after"
print("Shifted before or after, away from the edges the outputs are the same.")

# %% [markdown]
# ## Parameters and operations
#
# Sharing separates two costs that are one for a dense layer: how many numbers are learned, and how many operations an
# image takes. Below are the library's models for these images (`models.cost`): the small `convnet`; `2c2d` and `3c3d`
# of DeepOBS (Schneider, Balles and Hennig 2019); All-CNN-C (Springenberg et al. 2015); `resnet`, here with eight layers
# and built as the residual networks of He et al. 2016, whose smallest has twenty.

# %%
costs = {name: models.cost(make(outputs=10), train_x) for name, make in models.MODELS.items() if name != "residual_mlp"}
rows = [
    f"| {name} | {cost.parameters:,} | {cost.flop / 1e6:.2f} | {cost.flop / cost.parameters:.0f} |"
    for name, cost in sorted(costs.items(), key=lambda pair: pair[1].parameters)
]
head = "| model | parameters | million operations for an image | operations for a parameter |\n|---|---|---|---|\n"
display(Markdown(head + "\n".join(rows)))

in_dense = (height * width * channels) * (height * width * 16)
print(f"A 3x3 convolution to 16 channels has {kernel.size} weights; a dense layer of that shape has {in_dense:,}.")
assert costs["linear"].flop / costs["linear"].parameters < 3, "dense: each weight is used once"
assert costs["resnet"].flop / costs["resnet"].parameters > 50, "shared: each weight is used all over the image"

# %% [markdown]
# ## Does it help?
#
# Linear, dense and convolutional, on the same images, for the same epochs, each at seven rates of momentum, which are
# lanes of one compiled program.

# %%
RUNS = tempfile.TemporaryDirectory()
NETS = ["linear", "mlp", "convnet"]
COMMON = {"optimizer": "momentum", "batch_size": 64, "epochs": 30 if FULL else 5, "keep": 21}
RATES = log_uniform(1e-4, 0.1)
compared = sweep(
    Experiment(data=dataset, **COMMON),
    Space(learning_rate=RATES, model=choice(NETS)).grid(learning_rate=7),
    directory=f"{RUNS.name}/compared",
)

# %%
ax = results.plots.sensitivity(compared, "learning_rate", by="model")
ax.figure.set_size_inches(6.5, 3.8)
ax.set_title(f"Does a convolution help on {NAME}?", fontsize="medium")
plt.show()

scores = results.summary(compared)
best = {net: scores.isel(trial=int(scores.score.where(scores.model == net).argmax("trial"))) for net in NETS}
accuracy = {net: float(trial.score) for net, trial in best.items()}
error = np.sqrt(0.25 / len(valid_y))
print({net: f"{value:.3f} at rate {best[net].learning_rate.item():.3g}" for net, value in accuracy.items()})
print(f"The standard error of an accuracy on {len(valid_y)} images is at most {error:.3f}.")
assert accuracy["convnet"] > accuracy["linear"], "locality and sharing help on images"
for net, trial in best.items():
    assert 1.01 * RATES.low < trial.learning_rate < 0.99 * RATES.high, f"{net}: a best rate at an end is not the best"

# %% [markdown]
# ## What does it know? Shuffled pixels
#
# Put the pixels of all images into another order, the same for all. For a linear or dense model that is the same
# task, since it has no idea which pixels are neighbours. What a convolution has gained must be gone. (Both keep the
# rates that were best above: the convolutional one, tuned anew, might lose a little less.)

# %%
order = np.random.default_rng(0).permutation(height * width)


def shuffled(part):
    images, labels = part
    return images.reshape(len(images), height * width, channels)[:, order].reshape(images.shape), labels


confused = data.from_arrays(
    shuffled(parts[0]), valid=shuffled(parts[1]), test=shuffled(parts[2]), normalize=True, name=f"{NAME}, shuffled"
)
DENSE_AND_CONV = ["mlp", "convnet"]
at_their_best = [
    Trial({"learning_rate": best[net].learning_rate.item()}, {"model": net}, {"model": net}) for net in DENSE_AND_CONV
]
without_order = sweep(Experiment(data=confused, **COMMON), at_their_best, directory=f"{RUNS.name}/shuffled")
left = {net: float(without_order.score.where(without_order.model == net).max()) for net in DENSE_AND_CONV}
lost = {net: accuracy[net] - left[net] for net in DENSE_AND_CONV}

figure, ax = plt.subplots(figsize=(5, 3), layout="constrained")
places = np.arange(2)
in_order = [accuracy[net] for net in DENSE_AND_CONV]
ax.barh(places - 0.2, in_order, 0.38, label="pixels in order")
ax.barh(places + 0.2, [left[net] for net in DENSE_AND_CONV], 0.38, hatch="//", label="pixels shuffled")
ax.set(yticks=places, yticklabels=DENSE_AND_CONV, xlabel="validation accuracy", xlim=(0, 1))
ax.set_title("What is left without neighbourhoods?", fontsize="medium")
ax.legend(frameon=False, loc="lower right")
plt.show()

print("lost by shuffling:", {net: round(value, 3) for net, value in lost.items()}, f"(standard error {error:.3f} each)")
assert lost["convnet"] > lost["mlp"], "what a convolution knows is who is whose neighbour"

# %% [markdown]
# ## And shifted images?
#
# Equivariance is not invariance: after pooling and flattening, the last dense layer sees a shift. What helps is to
# train on shifted images (Simard, Steinkraus and Platt 2003). How much accuracy is left when images move by up to a
# share of their sides?

# %%
shifting = sweep(
    Experiment(data=dataset, augment="shift", **COMMON),
    [at_their_best[1]._replace(hparams={**at_their_best[1].hparams, "shift": 0.2})],
    directory=f"{RUNS.name}/shifting",
)  # fmt: skip
trained = {
    "mlp": load_model(f"{RUNS.name}/compared", trial=best["mlp"].trial.item()),
    "convnet": load_model(f"{RUNS.name}/compared", trial=best["convnet"].trial.item()),
    "convnet, trained on shifts": load_model(f"{RUNS.name}/shifting"),
}
SHIFTS = [0.0, 0.05, 0.1, 0.15, 0.2]
under_shift = {name: model.robustness((valid_x, valid_y), "shift", SHIFTS) for name, model in trained.items()}

figure, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
for (name, values), style in zip(under_shift.items(), ["C0o-", "C1s--", "k^:"], strict=True):
    ax.plot(SHIFTS, values, style, label=name)
top = 1.12 * max(float(values.max()) for values in under_shift.values())
ax.set(xlabel="largest shift (share of the side)", ylabel="validation accuracy", ylim=(0, top), xticks=SHIFTS)
ax.set_title("Who recognizes an image that has moved?", fontsize="medium")
ax.legend(frameon=False)
plt.show()

kept = {name: float(values[-1] / values[0]) for name, values in under_shift.items()}
print("share of the accuracy that is left at 0.2:", {name: round(value, 2) for name, value in kept.items()})
unmoved = {name: float(values[0]) for name, values in under_shift.items()}
price = unmoved["convnet"] - unmoved["convnet, trained on shifts"]
print(
    f"accuracy on images that do not move, lost by training on shifts: {price:+.3f} (standard error {error:.3f} each)"
)
assert kept["convnet, trained on shifts"] > kept["convnet"] + 0.05, "shifts in training make shifts do less harm"
assert kept["convnet"] < kept["mlp"] + 0.1, "convolutions alone do not"

# %% [markdown]
# Shifts in training make shifts do less harm, not none, and the printed difference says what that costs on images that
# do not move, after so few epochs. Convolutions and pooling alone make a network no steadier than a dense one: no
# larger share of its accuracy is left.
#
# ## Normalization and shortcuts
#
# Depth was long limited by training. Batch normalization (Ioffe and Szegedy 2015) gives every channel mean 0 and
# variance 1 in each batch, so that the scale of a kernel no longer matters, and a step that is too long does less
# harm; shortcuts (He et al. 2016) let a block learn a difference from the identity. Which rates survive with them? A
# narrow residual network of seven convolutions, against the plain one above, at momentum 0.9:

# %%
ROBUST_RATES = log_uniform(0.01, 1.0)
SHORT = COMMON | {"epochs": 30 if FULL else 3}  # enough to see what does not train at all
contenders = {
    "convnet": "convnet",
    "resnet": functools.partial(models.resnet, channels=(16, 32, 64) if FULL else (8, 16, 32)),
}
steep = {
    name: sweep(
        Experiment(data=dataset, model=model, **SHORT), Space(learning_rate=ROBUST_RATES).grid(3),
        directory=f"{RUNS.name}/steep_{name}",
    )
    for name, model in contenders.items()
}  # fmt: skip

# %%
figure, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
last = {}
for (name, found), mark, dashes in zip(steep.items(), "so", ["--", "-"], strict=True):
    last[name] = found.valid_accuracy.isel(seed=0, epoch=-1).fillna(0.1).values
    ax.plot(found.learning_rate, last[name], marker=mark, ls=dashes, label=name)
ax.axhline(0.1, color="0.6", lw=1)
ax.annotate("chance", (0.011, 0.11), color="0.4")
ax.set(xscale="log", xlabel="learning rate", ylabel="validation accuracy, last epoch")
ax.set_ylim(0, 1.12 * max(values.max() for values in last.values()))
ax.set_title("Which rates can be trained at?", fontsize="medium")
ax.legend(frameon=False)
plt.show()
fallen = {name: float(values[0] - values[1]) for name, values in last.items()}
print("accuracy lost between a rate of 0.01 and one of 0.1:", {name: round(value, 2) for name, value in fallen.items()})
print("at a rate of 1:", {name: round(float(values[-1]), 2) for name, values in last.items()})
assert fallen["resnet"] < fallen["convnet"] - 0.1, "with batch normalization ten times the rate does less harm"

# %% [markdown]
# (A run that diverged counts as chance here. One seed each, and few epochs: which network is *better* is not decided by
# this figure, and at the smallest rate the plain one can be ahead. Nor does it say which of the two, normalization or
# shortcuts, helps.)
#
# ## A full run
#
# DeepOBS trained `3c3d` on all of CIFAR-10 for 100 epochs, at batch 128 and an L2 penalty of 0.002, after a search
# over 36 rates for each method, and reports a test accuracy of 0.839 for SGD, 0.849 for momentum of 0.99 and 0.845 for
# Adam (means over ten seeds). Three numbers to beat, on a GPU:
#
# ```sh
# jaxopt-intro sweep --data cifar10 --model 3c3d --optimizer adam --penalty l2 --constant l2 0.002 \
#     --log-uniform learning_rate 1e-4 1e-2 --points learning_rate=11 --batch-size 128 --epochs 100
# ```
#
# Under `SIZE = "full"` the next cell does it with fewer epochs, at the published rate.

# %%
if FULL:
    published = sweep(
        Experiment(data=whole, model="3c3d", optimizer="adam", penalty="l2", batch_size=128, epochs=30),
        [Trial({"learning_rate": 3.98e-4, "l2": 0.002})],
        directory=f"{RUNS.name}/published",
    )
    print(results.top(published).to_string())
else:
    print(
        f"3c3d takes {costs['3c3d'].flop / costs['convnet'].flop:.0f} times the operations of convnet: for SIZE=full."
    )

# %% [markdown]
# ## Exercises
#
# **1.** How many weights and operations has a 5x5 convolution from 64 to 96 channels on 16x16 pixels, with zeros
# around? Check with `models.flop`.
#
# <details><summary>Solution 1</summary>
#
# ```python
# weights = 5 * 5 * 64 * 96
# operations = 2 * weights * 16 * 16
# found = models.flop(lambda x, k: by_library(x, k, "SAME"), jnp.ones((1, 16, 16, 64)), jnp.ones((5, 5, 64, 96)))
# print(f"{weights:,} weights, {operations:,} operations, counted: {found:,}")
# assert found == operations
# ```
# </details>
#
# **2.** After two convolutions of 3x3, each followed by 2x2 pooling, how many pixels of the image does one output
# see? Let the gradient tell.
#
# <details><summary>Solution 2</summary>
#
# 3 pixels, then 4 after pooling, then $4 + 2 \cdot 2 = 8$ (the second kernel's steps are two pixels wide), then 10.
#
# ```python
# def one_output(image):
#     for _ in range(2):
#         image = by_library(image, jnp.ones((3, 3, 1, 1)))
#         image = layers.avg_pool(image, (2, 2), strides=(2, 2))
#     return image[0, 2, 2, 0]
#
#
# seen = jax.grad(one_output)(jnp.ones((1, 32, 32, 1)))[0, :, :, 0] != 0
# print("rows:", int(seen.any(axis=1).sum()), "columns:", int(seen.any(axis=0).sum()))
# assert int(seen.sum()) == 10 * 10
# ```
# </details>
#
# **3.** Show that a dense layer is a convolution whose kernel is as large as the image.
#
# <details><summary>Solution 3</summary>
#
# ```python
# dense = jax.random.normal(jax.random.key(1), (height * width * channels, 10)) / 50
# as_convolution = by_library(x, dense.reshape(height, width, channels, 10))
# assert as_convolution.shape == (len(x), 1, 1, 10)
# assert jnp.allclose(as_convolution[:, 0, 0], x.reshape(len(x), -1) @ dense, atol=2e-2)
# ```
# </details>
#
# **4.** Maximum pooling is said to make a network invariant to small shifts. Shift an image by one and by two pixels,
# and compare what a 2x2 pooling makes of it.
#
# <details><summary>Solution 4</summary>
#
# By two pixels, its own step, the pooled image moves by one and is otherwise the same. By one pixel it is another
# image: pooling is not invariant, and not even equivariant to shifts that are no multiple of its step (Zhang 2019,
# *Making convolutional networks shift-invariant again*).
#
# ```python
# def pooled(pixels):
#     return layers.max_pool(pixels, (2, 2), strides=(2, 2))
#
#
# by_two = jnp.abs(pooled(jnp.roll(x, 2, axis=2))[:, :, 1:] - pooled(x)[:, :, :-1]).max()
# one, same, next_one = pooled(jnp.roll(x, 1, axis=2))[:, :, 1:], pooled(x)[:, :, 1:], pooled(x)[:, :, :-1]
# by_one = min(float(jnp.abs(one - other).mean()) for other in (same, next_one))
# print("by two:", float(by_two), "by one, on average:", round(by_one, 4))
# assert by_two == 0 and by_one > 0
# ```
# </details>
