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
# # 9. Hypergradients: tuning by differentiating through training
#
# A training is a function: hyperparameters in, validation loss out. It is made of differentiable steps, so it has a
# derivative. This notebook shows
#
# - what a hypergradient is, written out in a few lines beside the library's;
# - what forward and reverse mode cost, for one hyperparameter and for a thousand;
# - how to tune with it, and how many trainings that saves beside a grid;
# - what a thousand hyperparameters are good for: finding wrong labels with one reverse pass;
# - where the derivative is right and worthless: beyond the edge where a training turns chaotic;
# - a map with arrows of two hyperparameters, and what its edge looks like from near: a fractal.
#
# It follows Maclaurin, Duvenaud and Adams 2015 (*Gradient-based hyperparameter optimization through reversible
# learning*), Franceschi et al. 2017 (*Forward and reverse gradient-based hyperparameter optimization*), Metz et al.
# 2021 (*Gradients are not all you need*) and Sohl-Dickstein 2024 (*The boundary of neural network trainability is
# fractal*, arXiv 2402.06184). The lecture chooses the learning rate by hand or on a grid; this is the third way.

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
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

from jaxopt_intro import (
    Experiment,
    Space,
    data,
    landscape,
    log_uniform,
    losses,
    make_training,
    models,
    optimizers,
    regularizers,
    results,
    training,
    zoomed,
)
from jaxopt_intro.data import batching
from jaxopt_intro.results import maps
from jaxopt_intro.typing import Training

SIZE = os.environ.get("JAXOPT_INTRO_SIZE", "small")  # "full": all images and more trials; minutes to hours on two cores
FULL = SIZE == "full"
plt.style.use("tableau-colorblind10")
COLOURS = plt.rcParams["axes.prop_cycle"].by_key()["color"]

# %% [markdown]
# ## One training as a function
#
# A network with one hidden layer of 16 units is trained on images of digits for five epochs of gradient descent with
# L2 strength `l2`. `training.hypergradient` wants four things: the two functions of the training, a state to start
# from, what the steps get (here the row numbers of each batch), and a smooth validation, a loss and not an accuracy.

# %%
dataset = data.load("fashion_mnist" if FULL else "digits", valid=0.2)
(images, labels), (valid_images, valid_labels) = jax.tree.map(jnp.asarray, (dataset.train, dataset.valid))
WIDTHS, EPOCHS, BATCH = (16,), 1 if FULL else 5, 128


def prepare(pixels):
    return (pixels.astype(jnp.float32) / dataset.info.scale - dataset.info.mean[0]) / dataset.info.std[0]


model = models.mlp(outputs=10, widths=WIDTHS, activation="tanh")
made = make_training(
    model,
    losses.softmax_cross_entropy,
    optimizers.sgd,
    example=(images[:2], labels[:2]),
    penalty=regularizers.l2,
    prepare=prepare,
)
rows = jnp.concatenate([batching.epoch_indices(len(labels), BATCH, seed=0, epoch=epoch) for epoch in range(EPOCHS)])
start = functools.partial(made.init, jax.random.key(0))
by_rows = Training(
    made.init, lambda state, chosen, hparams: made.step(state, (images[chosen], labels[chosen]), hparams)
)


def validation(state, hparams):
    scores, _ = model.apply(state.params, {}, prepare(valid_images), train=False, key=None, hparams={})
    return jnp.mean(losses.softmax_cross_entropy(scores, valid_labels))


hypergradient = functools.partial(training.hypergradient, by_rows, start, rows, validation)

# %% [markdown]
# Written out, with $\theta_{t+1} = \theta_t - \eta\,\nabla L_t(\theta_t)$ for `step`, it is `lax.scan` over the steps
# and `jax.grad` of the whole:
#
# $$\frac{\mathrm{d}\,L_\mathrm{valid}(\theta_T)}{\mathrm{d}\eta} = \nabla L_\mathrm{valid}(\theta_T)^\top
# \sum_{t=1}^{T} \Big(\prod_{s=t}^{T-1} \big(I - \eta H_s\big)\Big) \big(-\nabla L_{t-1}(\theta_{t-1})\big),$$
#
# where $H_s$ is the Hessian of the loss of step $s$. The product is what will make trouble below.


# %%
def trained(learning_rate, l2=1e-4):
    hparams = {"learning_rate": learning_rate, "l2": l2}
    end, _ = jax.lax.scan(lambda state, chosen: (by_rows.step(state, chosen, hparams)[0], None), start(hparams), rows)
    return validation(end, hparams)


RATE = 0.1
by_hand = jax.jit(jax.grad(trained))(RATE)
value, slopes = jax.jit(hypergradient)({"learning_rate": RATE, "l2": 1e-4})
with jax.enable_x64(True):  # a difference of two trainings needs more digits than float32 has
    loss_at = jax.jit(trained)
    difference = float(loss_at(np.float64(RATE + 1e-4)) - loss_at(np.float64(RATE - 1e-4))) / 2e-4
display(
    Markdown(
        f"At rate {RATE}, the validation loss is **{value:.4f}** and its derivative by the rate "
        f"**{slopes['learning_rate']:.4f}**; by hand {by_hand:.4f}; from two trainings {difference:.4f}."
    )
)
np.testing.assert_allclose(slopes["learning_rate"], by_hand, rtol=1e-3)
np.testing.assert_allclose(slopes["learning_rate"], difference, rtol=2e-2)

# %% [markdown]
# ## Where is the derivative worth something?
#
# The same for 60 learning rates, side by side in one program. On the left: do the tangents follow the loss? The
# derivative is by the *logarithm* of the rate, $\eta\,\mathrm{d}L/\mathrm{d}\eta$: "what does it bring to multiply
# the rate by $e$", which is of the size of the loss itself. On the right: how large is it?

# %%
rates = jnp.geomspace(1e-3, 10.0, 60)
values, slopes = jax.jit(jax.vmap(lambda rate: hypergradient({"learning_rate": rate, "l2": 1e-4})))(rates)
by_log = np.asarray(rates * slopes["learning_rate"])
rates, values = np.asarray(rates), np.asarray(values)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
left.plot(rates, values, color="black", label="validation loss")
for i in range(3, 60, 5):
    if np.abs(by_log[i]) < 10:
        near = np.exp(np.linspace(-0.5, 0.5, 2))
        line = values[i] + by_log[i] * np.log(near)
        left.plot(rates[i] * near, line, color=COLOURS[1], lw=2.5, label="tangent" if i == 3 else None)
left.set(
    xscale="log", ylim=(0, 3), xlabel="learning rate", ylabel="validation loss", title="Do tangents follow the loss?"
)
left.legend()
right.plot(rates, np.abs(by_log), color="black")
right.axhline(10.0, color=COLOURS[1], ls="--", label="10, the limit of training.tune")
right.set(
    xscale="log",
    yscale="log",
    xlabel="learning rate",
    ylabel="|derivative by log rate|",
    title="How large is the slope?",
)
right.legend()
plt.show()

best = int(np.nanargmin(values))
fine = (values < 2 * values[best]) & ~(np.abs(by_log) < 10)
display(
    Markdown(
        f"The lowest loss is {values[best]:.3f}, at rate {rates[best]:.2g}. At {fine.sum()} of the rates the training "
        f"is good, with a loss below twice that, and the derivative above 10: up to "
        f"**{np.abs(by_log[fine]).max():.1g}**."
    )
)
calm = rates < 0.5
assert np.abs(by_log[calm]).max() < 5  # gentle below half the best rate
assert np.nanmax(np.abs(by_log)) > 1e6  # and beyond it, explosive
assert fine.any()  # even where the training is still good

# %% [markdown]
# Up to the best rate the tangents lead to it. Just beyond, the network still trains, but two trainings with rates
# that differ in the seventh digit no longer end in the same place: the products $\prod(I - \eta H_s)$ grow at each
# step where $\eta$ times the largest curvature is above 2. The derivative is right, and says what an infinitely small
# change would bring; of a step that one would take it says nothing (Metz et al. 2021, section 4). So `training.tune`
# follows no slope above 10 by a logarithm; it divides the rate by $e$ instead.
#
# ## Forward or reverse?
#
# Forward mode carries a derivative of the whole state for each hyperparameter, next to the training: nothing is kept.
# Reverse mode goes back through the training once for all hyperparameters, and needs the states on the way; the
# library keeps every $\sqrt{T}$-th and computes the others again (Griewank and Walther 2000). Below, the rate is cut
# into pieces, a hyperparameter each.

# %%
STEPS = len(rows)


def seconds_of(mode, count):
    def step(state, chosen, hparams):
        every = jnp.stack([hparams[f"rate_{i}"] for i in range(count)])
        own = {"learning_rate": every[state.step * count // STEPS], "l2": 1e-4}
        return by_rows.step(state, chosen, own)

    begin = made.init(jax.random.key(0), {"learning_rate": RATE, "l2": 1e-4})
    program = jax.jit(
        lambda hparams: training.hypergradient(Training(made.init, step), begin, rows, validation, hparams, mode=mode)
    )
    hparams = {f"rate_{i}": jnp.float32(RATE) for i in range(count)}
    _, found = jax.block_until_ready(program(hparams))
    timed = []
    for _ in range(3):
        clock = time.perf_counter()
        jax.block_until_ready(program(hparams))
        timed.append(time.perf_counter() - clock)
    return min(timed), np.array([found[name] for name in hparams])


plain = jax.jit(trained)
plain(RATE).block_until_ready()
timed = []
for _ in range(5):
    clock = time.perf_counter()
    plain(RATE).block_until_ready()
    timed.append(time.perf_counter() - clock)
one = min(timed)
counts, costs, gradients = (1, 4, 40), {}, {}
for mode in ("forward", "reverse"):
    found = [seconds_of(mode, count) for count in counts]
    costs[mode] = [seconds / one for seconds, _ in found]
    gradients[mode] = found[-1][1]
table = "| hyperparameters | " + " | ".join(map(str, counts)) + " |\n" + "|---" * (1 + len(counts)) + "|\n"
for mode, cost in costs.items():
    table += f"| {mode}, in trainings | " + " | ".join(f"{c:.1f}" for c in cost) + " |\n"
display(Markdown(table))
np.testing.assert_allclose(gradients["forward"], gradients["reverse"], rtol=1e-2, atol=1e-4)
assert costs["reverse"][-1] < costs["forward"][-1]

# %% [markdown]
# Both give the same numbers. Forward mode is for a few hyperparameters, and any number of steps; reverse mode for
# many.
#
# ## A thousand hyperparameters: which labels are wrong?
#
# A fifth of the training labels are replaced by random other ones. Each example gets a weight $w_i$ in the loss, and
# each weight is a hyperparameter: $\mathrm{d} L_\mathrm{valid}/\mathrm{d} w_i$ says whether the validation would gain
# if example $i$ counted more (Franceschi et al. 2017, section 5.1, "data hyper-cleaning"). One training and one way
# back give all of them.

# %%
draw = np.random.default_rng(0)
FEW = min(len(labels), 1_000)
wrong = draw.random(FEW) < 0.2
noisy = jnp.where(wrong, (labels[:FEW] + draw.integers(1, 10, FEW)) % 10, labels[:FEW])
some_rows = jnp.concatenate([batching.epoch_indices(FEW, 100, seed=0, epoch=epoch) for epoch in range(3)])


def weighted(scores, targets):
    """Cross entropy of labels, times the weight that comes with each."""
    return targets[1] * losses.softmax_cross_entropy(scores, targets[0])


cleaning = make_training(
    model, weighted, optimizers.sgd, example=(images[:2], (labels[:2], jnp.ones(2))), prepare=prepare
)


def weighted_step(state, chosen, hparams):
    batch = images[:FEW][chosen], (noisy[chosen], hparams["weights"][chosen])
    return cleaning.step(state, batch, {"learning_rate": RATE})


_, gradient = jax.jit(
    lambda weights: training.hypergradient(
        Training(None, weighted_step),
        cleaning.init(jax.random.key(0), {"learning_rate": RATE}),
        some_rows,
        validation,
        {"weights": weights},
        mode="reverse",
    )
)(jnp.ones(FEW))
harm = np.asarray(gradient["weights"]) * FEW
ranks = harm.argsort().argsort()
found_wrong = (ranks[wrong].mean() - (wrong.sum() - 1) / 2) / (
    ~wrong
).sum()  # Mann and Whitney: the area under the ROC curve

figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
bins = np.linspace(*np.percentile(harm, [0.5, 99.5]), 50)
ax.hist(harm[~wrong], bins, color=COLOURS[0], alpha=0.8, label=f"{(~wrong).sum()} right labels")
ax.hist(
    harm[wrong], bins, color=COLOURS[1], alpha=0.8, hatch="///", edgecolor="white", label=f"{wrong.sum()} wrong labels"
)
ax.set(xlabel="derivative of the validation loss by the example's weight, times their number", ylabel="examples")
ax.set_title("Does a wrong label show in its hypergradient?")
ax.legend()
plt.show()
display(
    Markdown(
        f"With one reverse pass for {FEW:,} hyperparameters: a wrong label has a larger derivative than a right one in "
        f"**{found_wrong:.0%}** of all pairs."
    )
)
assert found_wrong > 0.85

# %% [markdown]
# ## The map with arrows
#
# Now two hyperparameters, learning rate and L2 strength, over four and five orders of magnitude. `landscape` (on the
# command line: `jaxopt-intro map`) trains 17 x 17 points, then again and again halves the cells where most of the
# picture is at stake, many trainings side by side in one program. At 64 points it computes hypergradients by the
# logarithms of both; an arrow is drawn where it can be trusted: finite, below 10, and downhill on the map too. It is
# the very training of the sections above.

# %%
FOLDER = tempfile.TemporaryDirectory()  # the maps below are kept here, and are gone with the kernel
experiment = Experiment(data=dataset, model="mlp", optimizer="sgd", penalty="l2", epochs=EPOCHS, batch_size=BATCH)
space = Space(learning_rate=log_uniform(1e-2, 30.0), l2=log_uniform(1e-5, 1.0), widths=WIDTHS, activation="tanh")
POINTS = 2_000 if FULL else 800
found = landscape(experiment, space, f"{FOLDER.name}/whole", resolution=128 if FULL else 64, points=POINTS, width=32)

# %% [markdown]
# On it, the paths of `training.tune`: gradient descent on the logarithms, from three places at once (`vmap`), each with
# a mark of its own, one of them far beyond the edge. Hatched is what diverged; the ring is at the map's best accuracy.
# Do the paths find the valley, and what does that cost beside the map?

# %%
starts = {"learning_rate": jnp.array([0.02, 0.03, 10.0]), "l2": jnp.array([1e-2, 0.4, 1e-3])}
ITERATIONS = 12
tune = functools.partial(training.tune, by_rows, start, rows, validation, iterations=ITERATIONS)
tuned = jax.jit(jax.vmap(tune))(starts)

ax = results.plots.landscape(found, ax=plt.subplots(figsize=(7.5, 6), layout="constrained")[1])
for i, (rate_path, l2_path) in enumerate(zip(tuned.path["learning_rate"], tuned.path["l2"], strict=True)):
    ax.plot(rate_path, l2_path, marker="os^"[i], ms=5, color="white", mec="black", lw=1.5, zorder=6, clip_on=True)
ax.set(xlim=(1e-2, 30), ylim=(1e-5, 1))
ax.set_title("Where do the slopes lead?\n" + ax.get_title(), fontsize="medium")
plt.show()

map_best = float(found.loss.min())
behind = tuned.value / map_best - 1
price = 1 + len(starts)  # a training, and in forward mode about one more for each number
cost = price * ITERATIONS * len(tuned.value)
began = ", ".join(f"{loss:.3g}" for loss in tuned.values[:, 0].tolist())
ended = ", ".join(f"{loss:.4f}" for loss in tuned.value.tolist())
display(
    Markdown(
        f"The lowest loss on the map's {found.attrs['trainings']} trainings is {map_best:.4f}. Tuning leads from "
        f"losses of {began} to **{ended}**: the best of the three ends {behind.min():.0%} above the map's best, the "
        f"worst {behind.max():.0%}. Each takes {ITERATIONS} trainings and their derivatives, all three together as "
        f"much as about {cost} trainings. Of the {found.sizes['arrow']} arrows, "
        f"{(found.arrow_refused.values == '').sum()} can be trusted."
    )
)
one_value = jax.jit(trained)(*(np.float32(found[n].values[0]) for n in ("learning_rate", "l2")))
np.testing.assert_allclose(one_value, found.loss.values[0, 0], rtol=1e-3)  # the map and the function above are one
assert behind.min() < 0.1  # the best of three starts ends near the map's best
assert behind.max() < 1.0  # the worst does not, in so few steps, though all have come far down
assert (tuned.value < 0.2 * tuned.values[:, 0]).all()
assert cost < found.attrs["trainings"] / 5

# %% [markdown]
# The steps of `tune` are Adam's, which have about one length whatever the slope, so a path goes on along a direction
# that brings little; the best of its trainings is what counts. A few steps from one start are no guarantee: several
# starts still cost a fraction of the map. From beyond the edge the rate is divided by $e$ until a slope is believed.
#
# ## The edge of trainability is a fractal
#
# Between "trains" and "diverges" lies an edge. How long is it? Each picture is a window of the one before, 16 times
# narrower, around the place where the most of the edge is (`zoomed(..., at="edge")`). Colour says how long a training
# took to train: bright is quick. Grey says how long it took to diverge: dark is slow. A smooth curve would look
# straighter from picture to picture.

# %%
windows, space_here = [], space
for level in range(3):
    if level:
        space_here = zoomed(windows[-1], space_here, 16, at="edge")
    windows.append(
        landscape(
            experiment,
            space_here,
            f"{FOLDER.name}/{level}",
            resolution=64,
            points=4_225 if level else 2_000,
            arrows=False,
            precision="float64",
            width=32,
        )
    )

figure, axes = plt.subplots(1, 3, figsize=(10, 3.9), layout="constrained")
for level, (ax, window) in enumerate(zip(axes, windows, strict=True)):
    results.plots.landscape(window, of="slowness", ax=ax)
    figure.axes[-1].remove()  # its colour bar: three of them would take the pictures' room
    ax.set_title(f"{16**level} times enlarged" if level else "The whole map", fontsize="medium")
    ax.set_ylabel("" if level else "l2")
figure.suptitle(
    "Does the edge become straight? (bright: quick to train; dark grey: slow to diverge)", fontsize="medium"
)
plt.show()

# %% [markdown]
# To put a number to it, cover the edge with boxes of $s$ cells a side and count those that hold a piece of it, $N(s)
# \propto s^{-D}$: a smooth curve has dimension $D = 1$, a filled area 2. Four sizes in a picture
# of 64 cells make a rough estimate.


# %%
def edge_boxes(window, size):
    over = maps.filled(window)[1] >= 0.5
    corners = np.stack([over[:-1, :-1], over[:-1, 1:], over[1:, :-1], over[1:, 1:]])
    edge = corners.any(0) & ~corners.all(0)
    cells = len(edge) // size
    return edge.reshape(cells, size, cells, size).any((1, 3)).sum()


sizes = np.array([1, 2, 4, 8])
counts = np.array([[edge_boxes(window, size) for size in sizes] for window in windows])
dimensions = [-np.polyfit(np.log(sizes), np.log(row), 1)[0] for row in counts]
display(Markdown("Dimension of the edge in each window: " + ", ".join(f"**{d:.2f}**" for d in dimensions) + "."))
assert dimensions[-1] > 1.2
assert dimensions[-1] > dimensions[0]

point, diverged = maps.best(found), maps.filled(found)[1] >= 0.5
beyond = diverged[int(np.argmin(np.abs(found.l2.values - point.l2.item())))]  # along the row of the best point
edge = float(found.learning_rate.values[beyond].min())
room = edge / point.learning_rate.item()
display(
    Markdown(
        f"On the map above, the best rate is {point.learning_rate.item():.2g}; at its L2 strength the edge begins at "
        f"{edge:.2g}, **{room:.1f} times** as much."
    )
)
assert 1.5 < room < 4

# %% [markdown]
# The edge does not become straight; the nearer one looks, the more of it there is. Each window is placed where most of
# the edge is, so these are its largest dimensions, not typical ones. This is the same thing that the exploding
# derivative said: near the edge, however close two settings are, their trainings part. It is little trouble for
# tuning, as the best setting keeps a distance from the edge, by the factor above; but an optimizer that is led by
# losses or slopes at the edge is led by noise.
#
# How deep can one zoom? A float32 number has 24 binary digits: at 64 cells across, neighbours are one number when the
# window is about $4\cdot10^{-6}$ of its place. Maps of `precision="float64"` go on to $10^{-13}$; `landscape` says
# where a precision ends.

# %% [markdown]
# ## Exercises
#
# **1.** Arrows and `tune` use the derivative by the logarithm. With the numbers of the first figure (right): how does
# the plain derivative change from rate 0.1 to the lowest rate, beside the derivative by the logarithm? What would
# gradient descent on the rate itself do?
#
# <details><summary>Solution 1</summary>
#
# By the logarithm it shrinks. The plain derivative is the other one divided by the rate, so it *grows*, though a fixed
# step of the rate brings little there: descent on the rate itself takes steps of very different relative size.
#
# ```python
# at = [0, int(np.argmin(np.abs(rates - 0.1)))]
# plain_slopes = by_log[at] / rates[at]
# print("by log:", by_log[at], "plain:", plain_slopes)
# assert abs(by_log[at[0]]) < abs(by_log[at[1]]) and abs(plain_slopes[0]) > abs(plain_slopes[1])
# ```
# </details>
#
# **2.** Up to which rate does the derivative predict the effect of a step of 1 %? Compare `by_log` with the change of
# the loss between neighbouring rates of a finer grid.
#
# <details><summary>Solution 2</summary>
#
# Predict the loss at a rate 1 % higher, and look where the prediction has the wrong size or sign for the first time.
#
# ```python
# both = jax.jit(jax.vmap(trained))
# change = np.asarray(both(1.01 * rates) - both(rates))
# good = np.abs(change - by_log * np.log(1.01)) < 0.5 * np.abs(change) + 1e-4
# print("right up to a rate of", rates[np.argmin(good)], "; lowest loss at", rates[best])
# assert good[rates < 0.5].all() and not good.all()
# ```
# </details>
#
# **3.** Tune momentum too: make a training with `optimizers.momentum`, and follow the hypergradient by
# `learning_rate` and `momentum` for ten trainings from (0.01, 0.5). Which of them does it raise?
#
# <details><summary>Solution 3</summary>
#
# Both: from a rate that is too low, more of either brings the loss down, since the sum of the steps grows with
# $\eta/(1-\beta)$.
#
# ```python
# heavy = make_training(model, losses.softmax_cross_entropy, optimizers.momentum, example=(images[:2], labels[:2]),
#                       prepare=prepare)
# by_rows_too = Training(heavy.init, lambda s, c, h: heavy.step(s, (images[c], labels[c]), h))
# begin = functools.partial(heavy.init, jax.random.key(0))
# got = jax.jit(lambda h: training.tune(by_rows_too, begin, rows, validation, h, iterations=10))(
#     {"learning_rate": 0.01, "momentum": 0.5})
# print({name: float(value) for name, value in got.hparams.items()}, float(got.value))
# assert got.value < got.values[0]
# assert got.hparams["learning_rate"] > 0.01 and got.hparams["momentum"] > 0.5  # both
# ```
# </details>
#
# **4.** How many more times could you zoom by 16 from the last window before `precision="float64"` ends? Compute it
# from the window's own coordinates, then let `landscape` refuse one that is too narrow.
#
# <details><summary>Solution 4</summary>
#
# Neighbours have to be at least one unit in the last place apart.
#
# ```python
# x = windows[-1].learning_rate.values
# more = int(np.log(np.diff(x).min() / np.spacing(x.max())) / np.log(16))
# print(more, "more zooms of 16")
# tiny = Space(learning_rate=log_uniform(x[32], x[32] * (1 + 1e-14)), l2=log_uniform(1e-5, 1.0))
# try:
#     landscape(Experiment(data=dataset, model="linear", optimizer="sgd", penalty="l2"), tiny, f"{FOLDER.name}/tiny",
#               precision="float64")
# except ValueError as error:
#     print(error)
# else:
#     raise AssertionError("it should refuse")
# assert more >= 5
# ```
# </details>
