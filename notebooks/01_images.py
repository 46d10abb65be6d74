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
# # 1. Images as arrays
#
# A computer is given an array of numbers and is asked for a word. This notebook is about the distance between the two.
# You will learn
#
# - how an image is stored, what its axes mean, and what is done to it before a model sees it;
# - what the *semantic gap* is, measured: how far two pixels of shift carry an image, beside the way to an image of
#   another class;
# - what makes recognition hard: viewpoint, deformation, background clutter, illumination, occlusion, and variation
#   inside a class, each seen on real images;
# - what each of these costs a trained classifier, as a curve over its strength;
# - how to measure the same for a model of your own.
#
# It follows Y. Yao, *An Introduction to Optimization Methods in Deep Learning*, and the lecture on image classification
# of Stanford's CS231n. The data are Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747) and, where it is on
# your machine, CIFAR-10 (Krizhevsky 2009, *Learning multiple layers of features from tiny images*).

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
import os
import tempfile

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

from jaxopt_intro import Experiment, Space, augmentations, choice, data, load_model, log_uniform, results, sweep

SIZE = os.environ.get("JAXOPT_INTRO_SIZE", "small")  # "full": all images and more trials; minutes to hours on two cores
FULL = SIZE == "full"
plt.style.use("tableau-colorblind10")

# %% [markdown]
# ## An image is an array
#
# `data.load` returns NumPy arrays in three parts. An image is an array `[height, width, channels]` of whole numbers
# from 0 to 255, and a label is the number of its class. Fashion-MNIST has one channel (gray), CIFAR-10 has three (red,
# green, blue). The default here is a cut of Fashion-MNIST that is part of the package; nothing is downloaded.

# %%
fashion = data.load("fashion_mnist" if FULL else "fashion_mnist_small")
try:
    cifar = data.load("cifar10", download=FULL)
except data.DataUnavailable:
    cifar = None
    print("CIFAR-10 is not here; `jaxopt-intro data prepare cifar10` fetches it. What follows is Fashion-MNIST alone.")

for dataset in filter(None, (fashion, cifar)):
    images, labels = dataset.train
    print(dataset.info.name)
    for part in ("train", "valid", "test"):
        print(f"  {part:5}  images {getattr(dataset, part)[0].shape}, {images.dtype}, of 0 to {images.max()}")
    print(f"  labels {np.bincount(labels).min()} to {np.bincount(labels).max()} of each class; {labels[0]} is", end=" ")
    print(f"{dataset.info.class_names[labels[0]]!r}")

# %% [markdown]
# This is the top of an ankle boot as the computer has it, every second row and column. Nothing in the array says
# "boot". Nor does any single number matter: what we recognize is how the numbers stand to each other.

# %%
images, labels = fashion.test
boot = images[np.flatnonzero(labels == fashion.info.class_names.index("Ankle boot"))[0], :, :, 0]
print("\n".join(" ".join(f"{value:3d}" for value in row) for row in boot[4:24:2, ::2]))

# %% [markdown]
# Before a model sees an image, the numbers are scaled and shifted, so that over the training images each channel has
# mean 0 and standard deviation 1:
#
# $$ x = \frac{\text{image} / \text{scale} - \text{mean}}{\text{std}}. $$
#
# `info.scale`, `info.mean` and `info.std` are those numbers. A change of $x$ by 1 is therefore one standard deviation
# of all pixels. The engine does this inside its compiled step; here is the formula, to draw with.


# %%
def prepared(images, info):
    """As a model sees them."""
    return (jnp.asarray(images, jnp.float32) / info.scale - jnp.array(info.mean)) / jnp.array(info.std)


def drawable(x, info):
    """Back to 0 to 1; what lies outside is cut off, for the eye alone."""
    return np.clip(np.asarray(x) * np.array(info.std) + np.array(info.mean), 0, 1)


x = prepared(fashion.train[0], fashion.info)
display(Markdown(f"Prepared training images: mean {float(x.mean()):.3f}, standard deviation {float(x.std()):.3f}."))
assert abs(float(x.mean())) < 0.05
assert abs(float(x.std()) - 1) < 0.05

# %% [markdown]
# ## The semantic gap as a number
#
# If arrays were meanings, two images of one thing would be close together and images of different things far apart. The
# simplest distance between two images is that of their arrays,
#
# $$ d(a, b) = \lVert a - b \rVert_2 = \Big(\sum_{i} (a_i - b_i)^2\Big)^{1/2}, $$
#
# over all pixels $i$, each from 0 to 1. Take an image and move it two pixels to the right (2 of 28: about 7 % of its
# width). To us nothing has happened. We compare how far the array has moved with how far it is to the nearest training
# image *of another class*. And we ask how often the nearest training image of all has the right label: that is the
# *nearest-neighbor classifier*, which learns nothing and remembers everything. (Exercise 5 asks more neighbors.)


# %%
def moved(images, pixels):
    """Moved to the right; what comes in is the edge, repeated."""
    padded = np.pad(images, ((0, 0), (0, 0), (pixels, 0), (0, 0)), mode="edge")
    return padded[:, :, : images.shape[2]]


def distances(a, b):
    """Between each of `a` and each of `b`: |a|^2 - 2 a.b + |b|^2 is one matrix product, and not a loop."""
    a, b = (images.reshape(len(images), -1).astype(np.float32) / 255 for images in (a, b))
    squares = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)
    return np.sqrt(np.maximum(squares, 0))


def semantic_gap(dataset, seen=50_000 if FULL else 5_000, asked=1_000, pixels=2):
    """Distances of test images, and how often the nearest training image has the right label."""
    (train, train_labels), (test, labels) = ((part[0][:n], part[1][:n]) for part, n in (
        (dataset.train, seen), (dataset.test, asked)
    ))  # fmt: skip
    after = moved(test, pixels)
    to_train, after_to_train = distances(test, train), distances(after, train)
    others = np.where(train_labels == labels[:, None], np.inf, to_train)
    own_shift = np.linalg.norm((test.astype(np.float32) - after).reshape(len(test), -1) / 255, axis=1)
    right = [(train_labels[d.argmin(1)] == labels).mean() for d in (to_train, after_to_train)]
    nearest = {"to_other": others.min(1), "nearest_other": others.argmin(1)}
    return {"own_shift": own_shift, **nearest, "right": right, "seen": len(train)}


gaps = {dataset.info.name: semantic_gap(dataset) for dataset in filter(None, (fashion, cifar))}
lines = []
for name, gap in gaps.items():
    further = (gap["own_shift"] > gap["to_other"]).mean()
    before, after = gap["right"]
    lines.append(
        f"- **{name}**: for {further:.0%} of the test images, two pixels of shift carry the image further than to the "
        f"nearest training image of another class. The nearest of the first {gap['seen']:,} training images has the "
        f"right label for {before:.1%} of the test images, and for {after:.1%} after the shift."
    )
display(Markdown("\n".join(lines)))

gap = gaps[fashion.info.name]
further, (before, after) = (gap["own_shift"] > gap["to_other"]).mean(), gap["right"]
assert further > 0.5, "the claim: for most images the shift is further than another class"
assert before - after > 0.1, "the claim: two pixels cost the nearest neighbor more than ten points"
if cifar is not None:
    assert gaps["cifar10"]["right"][0] < 0.5, "the claim: in photographs the nearest image is mostly of another class"

# %% [markdown]
# In CIFAR-10 the gap shows in the other number. Its photographs are smooth and fill the whole frame, so two pixels move
# the array less than the way to the nearest other photograph. But that one is far away, too, and mostly of another
# class: what makes two photographs close is their background and their light, and not what is in them.

# %% [markdown]
# Is that a matter of a few odd images? The histogram shows the ratio of the two distances for every test image. Right
# of 1, the array of another thing is nearer than the array of the same thing two pixels on. Beside it: the test image
# in the middle of that order, its shift, and the nearest training image of another class.

# %%
ratio = gap["own_shift"] / gap["to_other"]
middle = np.argsort(ratio)[len(ratio) // 2]
test, (train, train_labels) = fashion.test[0], fashion.train
names = fashion.info.class_names
trio = {
    f"{names[fashion.test[1][middle]]}": test[middle],
    f"Two pixels on\n$d$ = {gap['own_shift'][middle]:.1f}": moved(test[middle : middle + 1], 2)[0],
    f"{names[train_labels[gap['nearest_other'][middle]]]}\n$d$ = {gap['to_other'][middle]:.1f}": train[
        gap["nearest_other"][middle]
    ],
}
figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), width_ratios=[2.4, 1, 1, 1], layout="constrained")
axes[0].hist(ratio, bins=40, color="C0")
axes[0].axvline(1, color="black", linestyle="--")
axes[0].set(xlabel="distance to own shift / to nearest other class", ylabel="test images")
axes[0].set_title("How far do two pixels carry an image?")
for ax, (title, image) in zip(axes[1:], trio.items(), strict=True):
    ax.imshow(image[..., 0], cmap="gray_r", vmin=0, vmax=255)
    ax.set_title(title, fontsize=10)
    ax.axis("off")
plt.show()

# %% [markdown]
# This is the semantic gap: the array changes a lot where the meaning does not, and little where the meaning does. A
# distance of pixels cannot close it, however many training images there are. The rest of this course is about functions
# of the array that are *learned*, so that they are steady where we want them to be.

# %% [markdown]
# ## What makes recognition hard, on real images
#
# The lecture names six difficulties. Five of them are changes of one image, and `augmentations` has functions
# `(images, strength, key=key) -> images` that make them, as strongly as one asks for:
#
# | difficulty | function | what the strength is |
# |---|---|---|
# | viewpoint | `shift` | largest shift, as a share of the side |
# | viewpoint | `rotate` | largest angle, in radians |
# | deformation | `deform` | how far pixels are displaced, as a share of the side |
# | background clutter | `clutter` | how far the background goes to random blobs, 0 to 1 |
# | illumination | `lighting` | largest change at an edge, in standard deviations of the data |
# | occlusion | `occlude` | side of the hidden square, as a share of the image's |
#
# At strength 0 each is the identity, and what it draws at random is the same at every strength: down a column below one
# sees one and the same change grow.

# %%
DIFFICULTIES = {"shift": 0.2, "rotate": 0.8, "deform": 0.08, "clutter": 1.0, "lighting": 2.0, "occlude": 0.8}


def draw_difficulties(dataset, rows, seed=1):
    """Each difficulty on an image of its own, at four strengths up to the largest."""
    shares = np.linspace(0, 1, 4)
    figure, axes = plt.subplots(len(shares), len(DIFFICULTIES), figsize=(8, 5.7), layout="constrained")
    for column, ((name, largest), row) in enumerate(zip(DIFFICULTIES.items(), rows, strict=True)):
        x = prepared(dataset.test[0][row : row + 1], dataset.info)
        for share, ax in zip(shares, axes[:, column], strict=True):
            change = augmentations.AUGMENTATIONS[name]
            changed = change(x, float(share * largest), key=jax.random.key(seed))
            ax.imshow(drawable(changed[0], dataset.info), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[], ylabel="" if column else f"{share:.0%} of that")
        axes[0, column].set_title(f"{name}\nup to {largest:g}", fontsize=10)
    figure.suptitle("What does each difficulty look like as it grows?")
    plt.show()


def first_of(dataset, classes):
    """The rows of the first test images of these classes."""
    return [np.flatnonzero(dataset.test[1] == dataset.info.class_names.index(name))[0] for name in classes]


draw_difficulties(fashion, first_of(fashion, ["Sandal", "Bag", "Dress", "Ankle boot", "Pullover", "Coat"]))

# %% [markdown]
# In photographs there is background already, and the color changes with the light. (CIFAR-10 has no licence that
# allows its images to be handed on, so the next picture is not in the committed notebook. Run it to see it.)

# %% tags=["not-committed"]
if cifar is not None:
    draw_difficulties(cifar, first_of(cifar, ["cat", "automobile", "horse", "frog", "ship", "airplane"]))

# %% [markdown]
# ## What each difficulty costs a trained classifier
#
# We train two classifiers on *unchanged* images: a linear one, and a small convolutional network, whose first layers
# look at small neighborhoods alike everywhere in the image. Their learning rates are not guessed: `sweep` trains each
# model at several, and the validation images choose.

# %%
runs = tempfile.TemporaryDirectory()
space = Space(model=choice(["linear", "convnet"]), learning_rate=log_uniform(1e-3, 1e-1))
experiment = Experiment(data=fashion, optimizer="momentum", epochs=20 if FULL else 8, batch_size=64)
found = sweep(experiment, space.grid(5 if FULL else 3), directory=f"{runs.name}/classifiers")
table = results.top(found, found.sizes["trial"])
results.table(found, 6)

# %% [markdown]
# `load_model` brings a trial's weights back, and `robustness` measures the accuracy on changed images: every test image
# once at each strength, with the same random draws at every strength. The dotted line is guessing.

# %%
models = {}
for name in ("linear", "convnet"):
    best = table[table.model == name].trial.iloc[0]
    models[name] = load_model(f"{runs.name}/classifiers", trial=best)

curves = {
    name: {
        change: model.robustness(fashion.test, change, np.linspace(0, largest, 6).tolist())
        for change, largest in DIFFICULTIES.items()
    }
    for name, model in models.items()
}

figure, axes = plt.subplots(2, 3, figsize=(9, 4.6), sharey=True, layout="constrained")
for ax, (change, largest) in zip(axes.flat, DIFFICULTIES.items(), strict=True):
    for (name, own), style in zip(curves.items(), ("o-", "s--"), strict=True):
        ax.plot(np.linspace(0, largest, 6), own[change], style, label=name)
    ax.axhline(0.1, color="black", linestyle=":", linewidth=1)
    ax.set(xlabel=f"{change}, strength", ylim=(0, 1))
for ax in axes[:, 0]:
    ax.set_ylabel("test accuracy")
axes[1, 1].legend(loc=(0.05, 0.2))
figure.suptitle("What does each difficulty cost?")
plt.show()

# %% [markdown]
# In numbers, at the largest strength of each. Both models see the same changed images, so we compare image by image:
# $d_i$ is 1 where the change costs the linear classifier a right answer and the network none. The difference of what
# the two lose is the mean of $d$, with the standard error $\operatorname{std}(d) / \sqrt n$. Where it is less than two
# of these, we do not say that one is steadier; and of six differences, one that is just beyond two may be so by chance.


# %%
def right_for(model, change, strength):
    """Whether the model is right for each test image; the draws are those of `robustness`."""

    def alone(image, row):
        key = jax.random.fold_in(jax.random.key(0), row)
        return augmentations.AUGMENTATIONS[change](image[None], strength, key=key)[0]

    images, labels = fashion.test
    changed = jax.vmap(alone)(prepared(images, fashion.info), jnp.arange(len(labels)))
    parts = jnp.array_split(changed, 10)  # all at once would take too much memory
    return np.concatenate([model.module(part).argmax(1) for part in parts]) == labels


lost, rows, steadier = {name: {} for name in models}, [], []
for change, largest in DIFFICULTIES.items():
    each = {}  # for each image: 1 where the change makes a right answer wrong, -1 where it makes a wrong one right
    for name, model in models.items():
        each[name] = right_for(model, change, 0.0).astype(float) - right_for(model, change, largest)
        lost[name][change] = each[name].mean()
        np.testing.assert_allclose(lost[name][change], curves[name][change][0] - curves[name][change][-1], atol=5e-3)
    d = each["linear"] - each["convnet"]
    error = d.std(ddof=1) / np.sqrt(len(d))
    if d.mean() > 2 * error:
        steadier.append(change)
    points = " | ".join(f"{100 * own[change]:.0f}" for own in lost.values())
    rows.append(f"| {change} | {largest:g} | {points} | {100 * d.mean():.1f} ± {100 * error:.1f} |")
header = ["| difficulty | strength | linear loses | convnet loses | difference |", "|---|---|---|---|---|"]
display(Markdown("\n".join(["Points of accuracy\n", *header, *rows])))
worst = max(lost["convnet"], key=lost["convnet"].get)
display(
    Markdown(
        f"The convolutional network is right for {curves['convnet']['shift'][0]:.1%} of the unchanged test images, the "
        f"linear classifier for {curves['linear']['shift'][0]:.1%}. What costs the network most is `{worst}`. It loses "
        f"fewer points than the linear classifier, by more than two standard errors, under {len(steadier)} of the "
        f"{len(DIFFICULTIES)} difficulties: {', '.join(f'`{change}`' for change in steadier)}."
    )
)
assert all(max(own[change] for own in lost.values()) > 0.05 for change in DIFFICULTIES), "each is a difficulty"
assert "lighting" in steadier, "the claim: filters that compare neighboring pixels mind the light less"
assert curves["convnet"]["shift"][0] > curves["linear"]["shift"][0] - 0.02

# %% [markdown]
# High accuracy on test images that were taken like the training images says little about images that were not. What
# helps is to train with such changes (`Experiment(augment=["shift", "rotate"])`; exercise 3), or a model that is built
# so as not to notice them.

# %% [markdown]
# ## Variation in a class
#
# The sixth difficulty is not a change of one image: things of one class differ. How much? We compare the distance of
# two images of one class with that of two images of different classes. If a class were a compact cloud of points, the
# ratio would be far below 1.


# %%
def spread(dataset, n=2_000):
    """The mean distance inside a class over the mean distance between classes."""
    images, labels = dataset.train[0][:n], dataset.train[1][:n]
    apart, same = distances(images, images), labels[:, None] == labels
    return apart[same & ~np.eye(n, dtype=bool)].mean() / apart[~same].mean()


ratios = {dataset.info.name: spread(dataset) for dataset in filter(None, (fashion, cifar))}
display(
    Markdown(
        "Mean distance inside a class over mean distance between classes: "
        + ", ".join(f"**{ratio:.2f}** in {name}" for name, ratio in ratios.items())
        + "."
    )
)
assert ratios[fashion.info.name] > 0.5, "the claim: a class is not a compact cloud"
if cifar is not None:
    assert ratios["cifar10"] > ratios[fashion.info.name], "the claim: less so still for photographs"

# %% [markdown]
# Does that cost accuracy? Order the test images by how far each is from the mean of its class, and divide them into
# four equally large groups, from the usual to the unusual. Below on the left, the most usual and the most unusual test
# images of three classes; on the right, the accuracy in each quarter.

# %%
(train, train_labels), (test, labels) = fashion.train, fashion.test
means = np.stack([train[train_labels == c].mean(0) for c in range(10)])
unusual = np.zeros(len(test))
for c in range(10):
    own = labels == c
    away = distances(test[own], means[c : c + 1])[:, 0]
    unusual[own] = away.argsort().argsort() / own.sum()  # the rank inside the class, 0 to 1

quarters = np.minimum((4 * unusual).astype(int), 3)
by_quarter = {}
for name, model in models.items():
    right = np.concatenate([model.predict(part).argmax(1) for part in np.array_split(test, 10)]) == labels
    by_quarter[name] = [right[quarters == q].mean() for q in range(4)]

figure = plt.figure(figsize=(9, 2.9), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1.15, 1])
axes = left.subplots(3, 6)
for c, row in zip((fashion.info.class_names.index(name) for name in ("Dress", "Sandal", "Bag")), axes, strict=True):
    order = np.flatnonzero(labels == c)[unusual[labels == c].argsort()]
    for ax, which in zip(row, [*order[:3], *order[-3:]], strict=True):
        ax.imshow(test[which, ..., 0], cmap="gray_r", vmin=0, vmax=255)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(fashion.info.class_names[c])
axes[0, 1].set_title("Most usual", fontsize=10)
axes[0, 4].set_title("Most unusual", fontsize=10)
ax = right.subplots()
for (name, own), style in zip(by_quarter.items(), ("o-", "s--"), strict=True):
    ax.plot(range(1, 5), own, style, label=name)
ax.set(xlabel="quarter of each class, usual to unusual", ylabel="test accuracy", xticks=range(1, 5))
ax.set_title("What do unusual things cost?", fontsize=10)
ax.legend()
plt.show()

# %%
drops = {name: own[0] - own[3] for name, own in by_quarter.items()}
display(
    Markdown(
        "From the most usual quarter to the most unusual one "
        + " and ".join(f"`{name}` loses {100 * drop:.0f} points" for name, drop in drops.items())
        + "."
    )
)
assert min(drops.values()) > 0.02, "the claim: unusual things are recognized less often"

# %% [markdown]
# ## Exercises
#
# **1.** A model that is given $28 \times 28$ pixels and answers with 10 classes: how many different images are there,
# and how many for each number of images in the training set? Give both as powers of ten.
#
# <details><summary>Solution 1</summary>
#
# Each of 784 pixels has one of 256 values, so there are $256^{784}$ images. Even a training set of all 70,000 images
# leaves nearly all of that power of ten: no table of examples can cover the space, so a classifier must generalize.
#
# ```python
# import math
#
# digits = 784 * math.log10(256)
# print(f"10^{digits:.0f} images, 10^{digits - math.log10(len(fashion.train[0])):.0f} for each training image")
# assert round(digits) == 1888
# ```
# </details>
#
# **2.** Is one pixel of shift enough for the semantic gap? For which number of pixels does the nearest neighbor first
# lose half of its accuracy?
#
# <details><summary>Solution 2</summary>
#
# `semantic_gap` takes `pixels`. One pixel already costs some points; the accuracy halves within a few pixels.
#
# ```python
# accuracy = [semantic_gap(fashion, seen=2_000, asked=500, pixels=pixels)["right"][1] for pixels in range(9)]
# half = next((pixels for pixels, value in enumerate(accuracy) if value < accuracy[0] / 2), None)
# print([round(float(value), 3) for value in accuracy], "half is lost at", half, "pixels")
# assert accuracy[2] < accuracy[1] < accuracy[0]
# ```
# </details>
#
# **3.** Train the linear classifier with `augment="shift"` at 0 and at 0.1, and measure both on images that are shifted
# by up to 0.1. What does it gain there, and what does it lose on unchanged images?
#
# <details><summary>Solution 3</summary>
#
# The strength is a number like any other, so both are trials of one compiled program. The classifier that has seen
# shifted images is better on shifted images, and worse on unchanged ones: a linear function of the pixels
# cannot be good at all positions, so it must share its weights among them.
#
# ```python
# experiment = Experiment(data=fashion, model="linear", optimizer="momentum", augment="shift", epochs=8)
# trials = [trial for strength in (0.0, 0.1) for trial in Space(shift=strength, learning_rate=3e-3).grid()]
# shifting = sweep(experiment, trials, directory=f"{runs.name}/shifting")
# on = {}
# for trial, strength in zip(shifting.trial.values, shifting["shift"].values, strict=True):
#     model = load_model(f"{runs.name}/shifting", trial=str(trial))
#     on[round(float(strength), 2)] = model.robustness(fashion.test, "shift", [0.0, 0.1])
# print({strength: values.round(3).tolist() for strength, values in on.items()})
# assert on[0.1][1] > on[0.0][1], "it gains on shifted images"
# assert on[0.1][0] < on[0.0][0], "and pays for it on unchanged ones"
# ```
# </details>
#
# **4.** The mean over a class is itself an image. Replace the training set by these ten images and ask for the nearest.
# How much accuracy is left, and how many of the distances that the nearest neighbor needs?
#
# <details><summary>Solution 4</summary>
#
# This is the nearest mean classifier, with which the next notebook begins: ten distances for each image instead of
# thousands. It does much better than guessing.
#
# ```python
# nearest_mean = (distances(test, means).argmin(1) == labels).mean()
# print(f"nearest mean {nearest_mean:.3f}, nearest neighbor {before:.3f}: 1 / {len(train) // 10} of the distances")
# assert 0.5 < nearest_mean < before
# ```
# </details>
#
# **5.** The *$k$-nearest-neighbor classifier* answers with the most frequent label among the $k$ nearest training
# images. Measure it for several $k$, from 1 to 500, on the training, the validation and the test images. Which of the
# three may choose $k$, and what is wrong with each of the other two?
#
# <details><summary>Solution 5</summary>
#
# The validation images choose. On the training images $k = 1$ is always perfect, since each image is its own nearest
# neighbor; a $k$ that was chosen on the test images would make the test accuracy of the chosen classifier too good.
# With a small $k$ a single odd image decides, with a large one the nearest images are outvoted by far ones. Between the
# two there is not much to win: more neighbors do not close the semantic gap.
#
# ```python
# ks = [1, 3, 5, 7, 9, 15, 25, 50, 100, 500]
#
#
# def k_nearest(part, k):
#     near = fashion.train[1][order[part][:, :k]]
#     votes = np.stack([(near == c).sum(1) for c in range(10)], axis=1)
#     return votes.argmax(1)  # of classes with as many votes, the first
#
#
# parts = {name: (getattr(fashion, name)[0][:500], getattr(fashion, name)[1][:500]) for name in ("train", "valid")}
# parts["test"] = fashion.test[0][:1_000], fashion.test[1][:1_000]
# order = {name: distances(part, fashion.train[0]).argsort(1)[:, : max(ks)] for name, (part, _) in parts.items()}
# right = {name: [(k_nearest(name, k) == own).mean() for k in ks] for name, (_, own) in parts.items()}
# print("k     " + " ".join(f"{k:5}" for k in ks))
# for name, values in right.items():
#     print(f"{name:5} " + " ".join(f"{value:5.3f}" for value in values))
# best = int(np.argmax(right["valid"]))
# print(f"the validation images choose k = {ks[best]}, whose test accuracy is {right['test'][best]:.3f}")
# assert ks[int(np.argmax(right["train"]))] == 1
# assert right["train"][0] == 1.0
# assert 1 < ks[best] < 100
# assert abs(right["test"][best] - right["test"][0]) < 0.05, "the choice of k mends little"
# assert right["test"][best] > right["test"][-1] + 0.05, "too many neighbors outvote the near ones"
# ```
# </details>
