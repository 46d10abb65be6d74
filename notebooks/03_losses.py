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
# # 3. Losses
#
# A classifier returns scores; a loss says how bad they are, and its gradient says what to change. You will learn
#
# - to compute the two usual losses by hand, on the lecture's cat, car and frog;
# - which values a loss must have before training, and other checks that find mistakes early;
# - to check a gradient by finite differences: with which step, in which precision, and where it says nothing;
# - what both losses look like as surfaces, and where they push;
# - when they disagree: about which scores are better, about which examples still matter, and about answers.
#
# It follows Y. Yao, *An Introduction to Optimization Methods in Deep Learning*, and the lectures on loss functions and
# on training of Stanford's CS231n. The losses are those of Weston and Watkins 1999 (*Support vector machines for
# multi-class pattern recognition*) and Crammer and Singer 2001 (*On the algorithmic implementation of multiclass
# kernel-based vector machines*), and the cross entropy of the softmax (Bishop 2006, *Pattern Recognition and Machine
# Learning*, section 4.3.4).

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

from jaxopt_intro import (
    Experiment,
    Space,
    choice,
    contracts,
    data,
    load_model,
    log_uniform,
    losses,
    make_training,
    models,
    optimizers,
    regularizers,
    results,
    sweep,
    trees,
)

SIZE = os.environ.get("JAXOPT_INTRO_SIZE", "small")  # "full": all images and more trials; minutes to hours on two cores
FULL = SIZE == "full"
plt.style.use("tableau-colorblind10")

# %% [markdown]
# ## Cat, car, frog: both losses by hand
#
# The lecture's three images show a cat, a car and a frog, and some $W$ gives them these scores for the three classes:

# %%
CLASSES = ("cat", "car", "frog")
scores = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]])
labels = np.array([0, 1, 2])
rows = [
    f"| {CLASSES[y]} | " + " | ".join(f"{value:g}" for value in s) + " |" for s, y in zip(scores, labels, strict=True)
]
header = ["| image of a | score of cat | score of car | score of frog |", "|---|---|---|---|"]
display(Markdown("\n".join([*header, *rows])))

# %% [markdown]
# **The hinge loss** asks that the right class wins against each other class by a margin of 1, and counts by how much it
# does not:
#
# $$ L(s, y) = \sum_{j \ne y} \max(0,\; s_j - s_y + 1). $$

# %%
by_hand = []
for s, y in zip(scores, labels, strict=True):
    terms = [max(0.0, s[j] - s[y] + 1) for j in range(3) if j != y]
    by_hand.append(sum(terms))
    written = " + ".join(f"max(0, {s[j]:g} - ({s[y]:g}) + 1)" for j in range(3) if j != y)
    print(f"{CLASSES[y]:5}{written} = {' + '.join(f'{t:.1f}' for t in terms)} = {sum(terms):.1f}")
print(f"mean {np.mean(by_hand):.2f}")

np.testing.assert_allclose(by_hand, [2.9, 0.0, 12.9], atol=1e-6)
assert round(np.mean(by_hand), 2) == 5.27
library = losses.weston_watkins(jnp.asarray(scores), jnp.asarray(labels))
np.testing.assert_allclose(library, by_hand, atol=1e-5)

# %% [markdown]
# The car's image costs nothing: its class wins by more than 1 against both others, and no change of the scores that
# keeps it so can make it better. The frog's costs most: its class has the lowest score.
#
# There is another multiclass hinge loss, which counts the *strongest* wrong class alone: `losses.crammer_singer`, and
# optax's `multiclass_hinge_loss`. It gives other numbers for the same scores, so one should know which one it is that a
# text calls "the multiclass SVM".

# %%
strongest = losses.crammer_singer(jnp.asarray(scores), jnp.asarray(labels))
print("sum over wrong classes   ", [round(float(v), 1) for v in library])
print("the strongest wrong class", [round(float(v), 1) for v in strongest])
np.testing.assert_allclose(strongest, [2.9, 0.0, 6.6], atol=1e-5)

# %% [markdown]
# **The softmax loss** first makes probabilities of the scores, and then takes the negative logarithm of the right one:
#
# $$ p_j = \frac{e^{s_j}}{\sum_k e^{s_k}}, \qquad L(s, y) = -\ln p_y . $$
#
# The cat's image, step by step:

# %%
exponentials = np.exp(scores[0])
probabilities = exponentials / exponentials.sum()
rows = [
    f"| {name} | {s:g} | {e:.2f} | {p:.2f} |"
    for name, s, e, p in zip(CLASSES, scores[0], exponentials, probabilities, strict=True)
]
display(Markdown("\n".join(["| class | $s$ | $e^s$ | $p$ |", "|---|---|---|---|", *rows])))
natural, base_10 = -np.log(probabilities[0]), -np.log10(probabilities[0])
display(Markdown(f"$-\\ln p_\\text{{cat}}$ = {natural:.2f}, and $-\\log_{{10}} p_\\text{{cat}}$ = {base_10:.2f}."))

np.testing.assert_allclose(probabilities, [0.13, 0.87, 0.00], atol=0.005)
assert round(natural, 2) == 2.04
assert round(base_10, 2) == 0.89
np.testing.assert_allclose(
    losses.softmax_cross_entropy(jnp.asarray(scores), jnp.asarray(labels))[0], natural, rtol=1e-5
)

# %% [markdown]
# The slide says 0.89. That is the logarithm to the base 10 of the same probability. The definition, every library, and
# the statement below that an untrained classifier has the loss $\ln C$ use the natural one, 2.04. The two differ by the
# factor $\ln 10 \approx 2.303$ for all scores alike, so they have the same minimum; but a learning rate and a penalty
# that suit one do not suit the other.

# %% [markdown]
# ## Checks before training
#
# CS231n asks a few questions of a loss, whose answers are the cheapest tests there are.
#
# **What does an untrained classifier cost?** If $W$ is small, all $C$ scores are almost equal. Then each of the $C - 1$
# wrong classes misses the margin by 1, and each class has probability $1 / C$:
#
# $$ L_\text{hinge} = C - 1, \qquad L_\text{softmax} = \ln C . $$
#
# A first loss that is far from this says that the weights start too large, or the labels or the loss are wrong.
#
# **Does the loss know how large $W$ is?** Say that some $W$ has a hinge loss of zero for all images. Then $2 W$ has so,
# too: all differences of scores double. So the best $W$ is not unique, and the loss alone does not choose. The softmax
# loss does not have that property: it falls for ever, as $W$ grows, and has no minimum at all on data that can be
# separated. In both cases it takes a penalty to say which $W$ is meant.
#
# Below, on real images: on the left, the mean loss of random $W$ of many sizes. On the right a $W$ that was trained
# until it separates 200 images, times $c$: dotted with the penalty $\tfrac{\lambda}{2} \lVert c W \rVert^2$ on top.

# %%
fashion = data.load("fashion_mnist" if FULL else "fashion_mnist_small")
C = fashion.info.num_classes


def prepared(images):
    return (jnp.asarray(images, jnp.float32) / fashion.info.scale - fashion.info.mean[0]) / fashion.info.std[0]


few = prepared(fashion.train[0][:200]), jnp.asarray(fashion.train[1][:200])
LOSSES = {"hinge": losses.weston_watkins, "softmax": losses.softmax_cross_entropy}
model = models.linear(outputs=C)


def mean_loss(loss, params, batch):
    outputs, _ = model.apply(params, {}, batch[0], train=False, key=None, hparams={})
    return losses.reduction.mean(loss(outputs, batch[1]))


def trained_on_few(loss, steps=1_000):
    """A linear classifier that separates the few images, and its losses on the way."""
    training = make_training(model, loss, optimizers.momentum, example=few)
    hparams = {"learning_rate": 3e-3}

    def step(state, _):
        state, info = training.step(state, few, hparams)
        return state, info.loss

    state, path = jax.lax.scan(step, training.init(jax.random.key(0), hparams), length=steps)
    return state.params, path


separating, path = jax.jit(lambda: trained_on_few(losses.weston_watkins))()
print(f"hinge loss of {len(few[1])} images: {path[0]:.3f} before training, {path[-1]:.3f} after {len(path)} steps")
assert abs(float(path[0]) - (C - 1)) < 1e-4, "the library's linear model starts at zero"
assert float(path[-1]) < 1e-6, "a model that cannot fit a few images has a mistake in it"

# %%
sizes, factors = jnp.logspace(-5, 0, 31), jnp.linspace(0, 4, 41)
noise = {"dense": {"kernel": jax.random.normal(jax.random.key(1), (28 * 28, C)), "bias": jnp.zeros(C)}}


def scaled(params, factor):
    return jax.tree.map(lambda p: factor * p, params)


kernels = trees.kernels(separating)
penalties = jax.vmap(lambda c: regularizers.l2(scaled(separating, c), strength=0.3, factors=kernels))(factors)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
STYLES = {"hinge": "-", "softmax": "--"}
untrained, doubled = {}, {}
for color, (name, loss) in zip(("C0", "C1"), LOSSES.items(), strict=True):
    untrained[name] = jax.vmap(lambda size, loss=loss: mean_loss(loss, scaled(noise, size), few))(sizes)
    doubled[name] = jax.vmap(lambda factor, loss=loss: mean_loss(loss, scaled(separating, factor), few))(factors)
    axes[0].loglog(sizes, untrained[name], STYLES[name], color=color, label=name)
    axes[1].plot(factors, doubled[name], STYLES[name], color=color, label=name)
    axes[1].plot(factors, doubled[name] + penalties, linestyle=":", color=color, label=f"{name} + penalty")
for value, text in ((C - 1, "$C - 1$"), (np.log(C), r"$\ln C$")):
    axes[0].axhline(value, color="black", linewidth=0.8)
    axes[0].text(1e-5, value * 1.03, text, va="bottom", ha="left")
axes[0].set(xlabel="standard deviation of random weights", ylabel="mean loss", title="What does an untrained $W$ cost?")
axes[1].set(xlabel="$c$", ylabel="loss of $c\\,W$", title="Does the loss know how large $W$ is?", ylim=(0, 2.5))
axes[0].legend(loc=(0.03, 0.68))
axes[1].legend()
plt.show()

at_one, at_two = int(np.searchsorted(factors, 1)), int(np.searchsorted(factors, 2))
display(
    Markdown(
        f"At the smallest weights the losses are {untrained['hinge'][0]:.3f} and {untrained['softmax'][0]:.3f}; "
        f"$C - 1$ = {C - 1} and $\\ln C$ = {np.log(C):.3f}. From $W$ to $2W$ the hinge loss goes from "
        f"{doubled['hinge'][at_one]:.3f} to {doubled['hinge'][at_two]:.3f}, the softmax loss from "
        f"{doubled['softmax'][at_one]:.3f} to {doubled['softmax'][at_two]:.3f}."
    )
)
np.testing.assert_allclose([untrained["hinge"][0], untrained["softmax"][0]], [C - 1, np.log(C)], rtol=1e-2)
assert max(doubled["hinge"][at_one], doubled["hinge"][at_two]) < 1e-6
assert 0 < doubled["softmax"][at_two] < doubled["softmax"][at_one]

# %% [markdown]
# Three more questions of the lecture, as checks on the slide's numbers. *What if the hinge loss summed over all
# classes, the right one too?* Then it is larger by 1 everywhere, and nothing else changes. *What if it took the mean
# over the classes instead of the sum?* Then it is smaller by a factor, which learning rate and penalty can make up
# for. *What if the terms were squared?* Then it is another loss: it weighs a large miss against several small ones
# differently.

# %%
s, y = jnp.asarray(scores), jnp.asarray(labels)
over_all = jnp.maximum(0, s - s[jnp.arange(3), y][:, None] + 1).sum(1)
np.testing.assert_allclose(over_all, losses.weston_watkins(s, y) + 1, rtol=1e-5)
two_small, one_large = jnp.array([[0.0, -0.3, -0.3]]), jnp.array([[0.0, 0.2, -9.0]])
for name in ("weston_watkins", "squared_weston_watkins"):
    values = [float(losses.LOSSES[name](one, jnp.array([0]))[0]) for one in (two_small, one_large)]
    print(f"{name:24} two small misses {values[0]:.2f}, one large miss {values[1]:.2f}")
    assert (values[0] > values[1]) == (name == "weston_watkins"), "squaring turns the order round"

# %% [markdown]
# ## A gradient check
#
# The gradient of both losses by the scores can be written down,
#
# $$ \frac{\partial L_\text{softmax}}{\partial s_j} = p_j - [j = y], \qquad
#    \frac{\partial L_\text{hinge}}{\partial s_j} = \begin{cases} [s_j - s_y + 1 > 0] & j \ne y \\
#    -\text{(number of classes that miss the margin)} & j = y \end{cases} $$
#
# and the gradient by the weights follows by the chain rule,
# $\partial L / \partial W = (\partial L / \partial s)\, x^\top$. JAX derives them itself; here they agree.


# %%
def softmax_gradient(s, y):
    return jax.nn.softmax(s) - jax.nn.one_hot(y, s.shape[-1])


def hinge_gradient(s, y):
    missed = (s - s[y] + 1 > 0) & (jnp.arange(s.shape[-1]) != y)
    return missed - missed.sum() * jax.nn.one_hot(y, s.shape[-1])


for name, by_formula in {"hinge": hinge_gradient, "softmax": softmax_gradient}.items():
    by_jax = jax.vmap(jax.grad(LOSSES[name]))(s, y)
    np.testing.assert_allclose(by_jax, jax.vmap(by_formula)(s, y), atol=1e-6)
    print(f"{name:8} of the cat's scores: {[round(float(v), 2) for v in by_jax[0]]}")

# %% [markdown]
# Whoever writes a gradient by hand checks it by finite differences, in a random direction $v$:
#
# $$ \frac{L(W + h v) - L(W - h v)}{2 h} = \nabla L(W) \cdot v + O(h^2). $$
#
# The error of the formula falls with $h^2$. But two nearly equal numbers are subtracted, each rounded to a relative
# precision $\varepsilon$, and that error grows as $\varepsilon / h$. So there is a best step, near $\varepsilon^{1/3}$,
# and in float32 even that one is poor. How small should $h$ be?


# %%
def check_errors(dtype, steps):
    """The relative error of the central difference for each step, of the softmax loss by W on real images."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        W, v = (jnp.asarray(rng.normal(size=(28 * 28, C)) / 28, dtype) for _ in range(2))
        images, classes = jnp.asarray(few[0], dtype).reshape(200, -1), few[1]
        loss = jax.jit(lambda W: losses.softmax_cross_entropy(images @ W, classes).mean())
        exact = float((jax.grad(loss)(W) * v).sum())
        return [abs(float((loss(W + h * v) - loss(W - h * v)) / (2 * h)) / exact - 1) for h in steps.astype(dtype)]


steps = np.logspace(-10, 0, 41)
errors = {"float32": check_errors(np.float32, steps), "float64": check_errors(np.float64, steps)}
figure, ax = plt.subplots(figsize=(5.5, 3.2), layout="constrained")
for (name, own), style in zip(errors.items(), ("o-", "s--"), strict=True):
    ax.loglog(steps, own, style, markersize=3, label=name)
ax.set(xlabel="step $h$", ylabel="relative error", title="With which step should a gradient be checked?")
ax.legend()
plt.show()

lowest = {name: (min(own), steps[int(np.argmin(own))]) for name, own in errors.items()}
for name, (error, h) in lowest.items():
    print(f"{name}: at best {error:.0e}, at h = {h:.0e}; eps ** (1/3) = {np.finfo(name).eps ** (1 / 3):.0e}")
assert lowest["float64"][0] < 1e-7
assert lowest["float32"][0] > 10 * lowest["float64"][0]
assert errors["float64"][0] > 10 * lowest["float64"][0], "smaller is not better"

# %% [markdown]
# At a kink the check says nothing. Where a class misses the margin by exactly zero, the hinge loss has the slope 0 on
# one side and 1 on the other; any slope in between is a subgradient. The central difference returns the middle, and
# what JAX returns there is a convention: for `jnp.maximum` it is the middle, too, so the check passes; for
# `jax.nn.relu` it is 0, so the check fails, and nothing is wrong. So check gradients at generic points, and where a
# check fails, look whether a kink is near before looking for a mistake.

# %%
kink = jnp.array([0.0, -1.0, -9.0])  # the second class misses the margin by exactly 0
loss = lambda t: losses.weston_watkins(kink.at[1].add(t), jnp.array(0))  # noqa: E731
left, right = (abs(float((loss(h) - loss(0.0)) / h)) for h in (-1e-3, 1e-3))
print(f"slope on the left {left:.2f}, on the right {right:.2f}")
np.testing.assert_allclose([left, right], [0, 1], atol=1e-3)
at_kink = {}
for name, function in {"hinge, by jnp.maximum": loss, "jax.nn.relu": jax.nn.relu}.items():
    central, by_jax = float((function(1e-3) - function(-1e-3)) / 2e-3), float(jax.grad(function)(0.0))
    at_kink[name] = abs(central - by_jax)
    verdict = "the check passes" if at_kink[name] < 1e-3 else "the check fails"
    print(f"{name:22} central difference {central:.2f}, JAX {by_jax:.2f}: {verdict}")
assert at_kink["hinge, by jnp.maximum"] < 1e-3
assert at_kink["jax.nn.relu"] > 0.4

# %% [markdown]
# `contracts.check_loss` does this for a loss of your own, in float64 and at points away from kinks, and checks more.
# Here is one whose gradient somebody wrote by hand, and forgot that the right class is pulled up: the term $-[j = y]$.


# %%
@jax.custom_jvp
def mine(logits, labels):
    return losses.softmax_cross_entropy(logits, labels)


@mine.defjvp
def _(primals, tangents):
    slope = jax.nn.softmax(primals[0])
    return mine(*primals), (slope * tangents[0]).sum(axis=-1)


try:
    contracts.check_loss(mine)
except contracts.Broken as error:
    print(error)
else:
    raise AssertionError("the mistake was not found")
print("the library's own:", ", ".join(sorted({name for name, _ in contracts.check_loss(LOSSES["softmax"]).contracts})))

# %% [markdown]
# ## Surfaces and gradients
#
# Only differences of scores matter to either loss. With three classes, of which the first is right, there are two: by
# how much each wrong class is ahead, $u = s_1 - s_0$ and $v = s_2 - s_0$. The first two pictures show both losses over
# that plane, with arrows where the negative gradient pushes. The third is the cut through $v = -\infty$: one wrong
# class alone, beside what one would like to count, the wrong answers.

# %%
grid = jnp.linspace(-4, 4, 81)
coarse = jnp.linspace(-3.5, 3.5, 8)


def over_plane(function, values):
    at = jax.vmap(jax.vmap(lambda u, v: function(jnp.stack([jnp.zeros(()), u, v]), jnp.array(0)), (0, None)), (None, 0))
    return at(values, values)


figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
heights = {"hinge": [0.1, 1, 2, 4, 6, 8], "softmax": [0.1, 0.5, 1, 2, 3]}
for ax, (name, loss) in zip(axes, LOSSES.items(), strict=False):
    levels = ax.contour(grid, grid, over_plane(loss, grid), levels=heights[name], colors="0.5", linewidths=0.9)
    ax.clabel(levels, fontsize=8)
    downhill = -over_plane(jax.grad(loss), coarse)
    long = np.hypot(downhill[..., 1], downhill[..., 2]) > 1e-3
    us, vs = np.meshgrid(coarse, coarse)
    ax.quiver(us[long], vs[long], downhill[..., 1][long], downhill[..., 2][long], color="C0", scale=18, width=0.008)
    ax.plot(us[~long], vs[~long], ".", color="C1", markersize=4)
    ax.set(
        xlabel="$u = s_1 - s_0$",
        ylabel="$v = s_2 - s_0$",
        title=f"{name.capitalize()}: where does it push?",
        aspect="equal",
    )
cut = jnp.stack([jnp.zeros_like(grid), grid], axis=1)
zeros = jnp.zeros(len(grid), jnp.int32)
for (name, loss), style in zip(LOSSES.items(), ("-", "--"), strict=True):
    axes[2].plot(grid, loss(cut, zeros), style, label=name)
axes[2].plot(grid, losses.squared_weston_watkins(cut, zeros), "-.", label="squared hinge")
axes[2].step(grid, grid > 0, "k:", where="mid", label="wrong answer")
axes[2].set(xlabel="$u = s_1 - s_0$", ylabel="loss", title="What does one wrong class cost?", ylim=(0, 5))
axes[2].legend(fontsize=8)
plt.show()

flat = float((over_plane(losses.weston_watkins, grid) == 0).mean())
smallest = float(jnp.linalg.norm(over_plane(jax.grad(losses.softmax_cross_entropy), grid), axis=-1).min())
assert flat > 0
assert smallest > 0
display(
    Markdown(
        f"The hinge loss is exactly 0 on {flat:.0%} of this square (dots: no push at all). The softmax loss pushes "
        f"everywhere; the smallest gradient in the square has norm {smallest:.3f}."
    )
)

# %% [markdown]
# Three things are to be seen. The hinge loss is made of planes: it pushes with the same force however wrong a score is,
# and not at all where the margin is kept. The softmax loss is smooth, its push fades and never ends. And where both
# wrong classes are ahead, the hinge loss pushes against both alike, the softmax loss nearly only against the one that
# is further ahead: its push against all wrong classes together is $1 - p_y$, never more than 1.

# %% [markdown]
# ## When they disagree
#
# **About how good scores are.** CS231n's example: the right class is the first, and scores are $(10, -2, 3)$,
# $(10, 9, 9)$ or $(10, -100, -100)$. And two more, of ten classes: in A each wrong class is exactly one behind; in B
# one wrong class is half a point behind and the others are far behind.

# %%
others = {
    "(10, -2, 3)": [10, -2, 3],
    "(10, 9, 9)": [10, 9, 9],
    "(10, -100, -100)": [10, -100, -100],
    "A: nine classes one behind": [0] + 9 * [-1],
    "B: one class half a point behind": [0, -0.5] + 8 * [-20],
}
values = {
    label: {name: float(loss(jnp.array(s, jnp.float32), jnp.array(0))) for name, loss in LOSSES.items()}
    for label, s in others.items()
}
rows = [f"| {label} | {own['hinge']:.2f} | {own['softmax']:.2g} |" for label, own in values.items()]
display(Markdown("\n".join(["| scores | hinge | softmax |", "|---|---|---|", *rows])))
a, b = (values[label] for label in list(values)[-2:])
assert [round(own["hinge"], 6) for own in values.values()][:3] == [0, 0, 0], "the hinge loss sees no difference"
assert values["(10, 9, 9)"]["softmax"] > 100 * values["(10, -2, 3)"]["softmax"]
assert a["hinge"] < b["hinge"]
assert a["softmax"] > b["softmax"], "each loss prefers another one"

# %% [markdown]
# **About which examples still matter.** Train the same model with both, each with its own best learning rate and
# penalty. Then ask each training image whether it still pushes: whether the gradient of its loss by the scores is zero.

# %%
runs = tempfile.TemporaryDirectory()
space = Space(
    loss=choice(["weston_watkins", "softmax_cross_entropy"]),
    learning_rate=log_uniform(1e-4, 1e-1),
    l2=log_uniform(1e-4, 1e-1),
)
experiment = Experiment(data=fashion, model="linear", optimizer="momentum", schedule="cosine", penalty="l2", epochs=30)
found = sweep(experiment, space.grid(learning_rate=7 if FULL else 4, l2=4), directory=f"{runs.name}/both")
table = results.top(found, found.sizes["trial"])
best = {
    name: load_model(f"{runs.name}/both", trial=table[table.loss == own].trial.iloc[0])
    for name, own in (("hinge", "weston_watkins"), ("softmax", "softmax_cross_entropy"))
}
results.table(found, 3)

# %% [markdown]
# The histogram shows by how much each training image's right score is ahead of its best wrong one. Left of the dashed
# line the answer is wrong; right of the dotted one the margin is kept. (What lies beyond the axis is in the last bar.)

# %%
train_labels, test_labels = (jnp.asarray(part[1]) for part in (fashion.train, fashion.test))
push, margins = {}, {}
for name, one in best.items():
    s = one.predict(fashion.train[0])
    push[name] = jnp.linalg.norm(jax.vmap(jax.grad(LOSSES[name]))(s, train_labels), axis=1)
    right = jax.nn.one_hot(train_labels, C, dtype=bool)
    margins[name] = s[right] - jnp.where(right, -jnp.inf, s).max(1)

figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained", sharey=True)
for ax, (name, own) in zip(axes, margins.items(), strict=True):
    ax.hist(np.clip(own, -4, 12), bins=np.linspace(-4, 12, 65), weights=np.full(len(own), 1 / len(own)), color="C0")
    ax.axvline(0, color="black", linestyle="--", linewidth=1)
    ax.axvline(1, color="black", linestyle=":", linewidth=1)
    ax.set(xlabel="right score minus the best wrong one", title=name.capitalize())
axes[0].set_ylabel("share of training images")
figure.suptitle("Where do the training images come to rest?")
plt.show()

done = {name: float((own == 0).mean()) for name, own in push.items()}
display(
    Markdown(
        f"Under the hinge loss {done['hinge']:.0%} of the training images have a gradient of exactly zero: the others "
        f"alone decide what is learned next (they are the *support vectors*). Under the softmax loss it is "
        f"{done['softmax']:.0%}; the median norm of the gradient is {float(jnp.median(push['softmax'])):.3f}."
    )
)
assert done["hinge"] > 0.3
assert done["softmax"] < done["hinge"] / 5, "a probability rounds to 1 only far beyond the margin"

# %% [markdown]
# **About answers.** On how many test images do the two trained classifiers answer differently, and who is right then?

# %%
answers = {name: one.predict(fashion.test[0]).argmax(1) for name, one in best.items()}
differ = answers["hinge"] != answers["softmax"]
correct = {name: own == test_labels for name, own in answers.items()}
only = {name: int((differ & own).sum()) for name, own in correct.items()}
neither = int(differ.sum()) - sum(only.values())
standard_error = float(np.sqrt(sum(only.values())))
display(
    Markdown(
        f"Test accuracy is {correct['hinge'].mean():.3f} with the hinge and {correct['softmax'].mean():.3f} with the "
        f"softmax loss. They answer differently on {int(differ.sum())} of {len(differ)} images: the hinge is right on "
        f"{only['hinge']} of these, the softmax on {only['softmax']}, neither on {neither}. If both were equally good, "
        f"the difference of the first two numbers would be about {standard_error:.0f} in size by chance alone; it is "
        f"{abs(only['hinge'] - only['softmax'])}."
    )
)
assert 0 < differ.mean() < 0.2
assert abs(float(correct["hinge"].mean() - correct["softmax"].mean())) < 0.05

# %% [markdown]
# Here the choice of the loss does not decide how many answers are right. What differs is what else one gets: the
# softmax loss gives probabilities and never stops using an example; the hinge loss is done with an example once its
# margin is kept, and says nothing of how sure it is.

# %% [markdown]
# ## Exercises
#
# **1.** By hand: scores $(1.5, 2.2, 2.0)$, the right class is the third. What are the hinge and the softmax loss?
#
# <details><summary>Solution 1</summary>
#
# Hinge: $\max(0, 1.5 - 2.0 + 1) + \max(0, 2.2 - 2.0 + 1) = 0.5 + 1.2 = 1.7$. Softmax: exponentials 4.48, 9.03, 7.39, so
# $p = 7.39 / 20.90 = 0.354$ and $-\ln p = 1.04$.
#
# ```python
# one, third = jnp.array([1.5, 2.2, 2.0]), jnp.array(2)
# assert round(float(losses.weston_watkins(one, third)), 2) == 1.7
# assert round(float(losses.softmax_cross_entropy(one, third)), 2) == 1.04
# ```
# </details>
#
# **2.** Is the margin of 1 a hyperparameter? Show that with margin $m$ the hinge loss of $m W$ is $m$ times the loss of
# $W$ with margin 1, and say what that means for $\lambda$.
#
# <details><summary>Solution 2</summary>
#
# $\max(0, m s_j - m s_y + m) = m \max(0, s_j - s_y + 1)$. With the penalty, the risk of $mW$ with margin $m$ and
# strength $\lambda / m$ is $m\,(\text{loss} + \tfrac{\lambda}{2} \lVert W \rVert^2)$: the same problem in another
# scale. Margin and $\lambda$ are one hyperparameter, so the margin stays at 1 and $\lambda$ is tuned.
#
# ```python
# s, m = jnp.asarray(scores), 2.5
# larger = losses.weston_watkins(m * s, jnp.asarray(labels), margin=m)
# np.testing.assert_allclose(larger, m * jnp.asarray(by_hand), rtol=1e-5)
# ```
# </details>
#
# **3.** Multiply all scores by a growing $c$ and divide the softmax loss by $c$. What does it go to? Find the limit for
# the slide's three images and name the loss.
#
# <details><summary>Solution 3</summary>
#
# $\tfrac1c \big(\ln \sum_j e^{c s_j} - c s_y\big) \to \max_j s_j - s_y$: how far the best class is ahead of the right
# one. That is Crammer and Singer's loss with margin 0, the multiclass perceptron's. So for large weights the softmax
# loss is a rounded hinge.
#
# ```python
# s, c = jnp.asarray(scores), 1e3
# limit = losses.softmax_cross_entropy(c * s, jnp.asarray(labels)) / c
# print(limit)
# np.testing.assert_allclose(limit, losses.crammer_singer(s, jnp.asarray(labels), margin=0.0), atol=1e-3)
# ```
# </details>
#
# **4.** With label smoothing 0.1, what is the smallest value that the softmax loss can have for three classes, and at
# which scores? Why does the loss now know how large $W$ is?
#
# <details><summary>Solution 4</summary>
#
# The target is $q = (0.933, 0.033, 0.033)$, and the cross entropy $-\sum_j q_j \ln p_j$ is smallest at $p = q$, where
# it is the entropy of $q$. So $s_j = \ln q_j$ up to a constant: the right class is ahead by
# $\ln(0.933 / 0.033) = 3.33$, and more than that costs. The loss has a minimum at finite scores.
#
# ```python
# q = jnp.array([1 - 0.1 + 0.1 / 3, 0.1 / 3, 0.1 / 3])
# smoothed = lambda s: losses.softmax_cross_entropy(s, jnp.array(0), label_smoothing=0.1)
# print(smoothed(jnp.log(q)), -(q * jnp.log(q)).sum())
# np.testing.assert_allclose(smoothed(jnp.log(q)), -(q * jnp.log(q)).sum(), rtol=1e-5)
# np.testing.assert_allclose(jax.grad(smoothed)(jnp.log(q)), 0, atol=1e-6)
# assert smoothed(2 * jnp.log(q)) > smoothed(jnp.log(q))
# ```
# </details>
