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
# # 5. Gradient descent
#
# One rule, $w \leftarrow w - \mathrm{learning\_rate} \cdot g$, and one question: of how many examples is the gradient
# $g$? After this notebook you know
#
# - what batch, stochastic and mini-batch gradient descent have in common, and what each pays for a step;
# - how noisy a mini-batch gradient is, and at which batch size more examples stop being worth their price;
# - why a constant rate ends in a cloud around the minimum, how large that cloud is, and why rate and batch size count
#   through their quotient;
# - what the condition number does to gradient descent and to momentum, and what it has to do with centering the inputs;
# - what the order of the examples changes: sorted, shuffled once, shuffled anew, drawn with replacement, or from easy
#   to hard (a curriculum);
# - when noise that is added to the gradient helps a deep network, and when it does not.
#
# It follows Yao's lecture *An Introduction to Optimization Methods in Deep Learning* and Ruder 2016, *An overview of
# gradient descent optimization algorithms*, sections 2, 3, 6.1 and 6.4; Bottou, Curtis and Nocedal 2018, *Optimization
# methods for large-scale machine learning*; and the papers that each section cites.

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
from jax.flatten_util import ravel_pytree

from jaxopt_intro import (
    Experiment,
    Space,
    choice,
    data,
    log_uniform,
    losses,
    make_training,
    metrics,
    models,
    optimizers,
    regularizers,
    results,
    sweep,
    training,
)  # fmt: skip
from jaxopt_intro.data import batching
from jaxopt_intro.optimizers import wrappers

SIZE = os.environ.get("JAXOPT_INTRO_SIZE", "small")  # "full": all images and more trials; minutes to hours on two cores
FULL = SIZE == "full"
plt.style.use("tableau-colorblind10")
MARKERS = "osD^vP"


def ticks(ax, values):
    """Writes the values themselves at the horizontal scale."""
    ax.set_xticks(values, [f"{value:.2g}" for value in values])
    ax.minorticks_off()


# %% [markdown]
# ## Batch, stochastic, mini-batch: three gradients
#
# The loss of a model with parameters $w$ is a mean over $n$ examples, and so is its gradient:
#
# $$ \mathrm{loss}(w) = \frac1n \sum_{i=1}^n \ell_i(w), \qquad
# g_B = \frac1{|B|} \sum_{i \in B} \nabla \ell_i(w). $$
#
# *Batch* gradient descent takes all examples, $|B| = n$; *stochastic* gradient descent (Robbins and Monro 1951) takes
# one at random; *mini-batch* gradient descent takes a few. All three point down the slope on average, since
# $\mathbb{E}\, g_B = \nabla \mathrm{loss}$ for a random $B$. They differ in price and in noise.
#
# Written out, the rule is one line. Beside it the library's training of the same model, softmax regression on
# Fashion-MNIST (Xiao et al. 2017):

# %%
dataset = data.load("fashion_mnist" if FULL else "fashion_mnist_small", valid=None)
x, y = jax.device_put(dataset.train)
n = len(y)


def prepare(images):
    """Bytes to numbers of mean 0 and standard deviation 1 over the whole training set."""
    return (images / dataset.info.scale - dataset.info.mean[0]) / dataset.info.std[0]


model = models.linear(outputs=10)
made = make_training(model, losses.softmax_cross_entropy, optimizers.sgd, example=(x[:2], y[:2]), prepare=prepare)
hparams = {"learning_rate": 0.01}
state = made.init(jax.random.key(0), hparams)


def mean_loss(params, images, labels):
    scores, _ = model.apply(params, {}, prepare(images), train=True, key=None, hparams={})
    return jnp.mean(losses.softmax_cross_entropy(scores, labels))


rows = jnp.arange(32)
by_hand = jax.tree.map(lambda w, g: w - 0.01 * g, state.params, jax.grad(mean_loss)(state.params, x[rows], y[rows]))
by_library, info = made.step(state, (x[rows], y[rows]), hparams)
for a, b in zip(jax.tree.leaves(by_hand), jax.tree.leaves(by_library.params), strict=True):
    assert jnp.allclose(a, b, atol=1e-6)
print(f"loss of the first 32 images {info.loss:.3f}, norm of their gradient {info.grad_norm:.3f}")

# %% [markdown]
# ## What a pass over the data brings
#
# **Given the same number of looks at an image, which batch size brings the loss down furthest?** Each batch size
# needs a rate of its own, so we sweep both: five batch sizes (each a compiled program, since it is a shape) times ten
# rates (the lanes of the program). As this is a question of optimization and not of generalization, the training
# images are handed over as validation split too: then "validation" is the loss over all training images after each
# epoch.

# %%
RUNS = tempfile.TemporaryDirectory()  # goes away with the notebook; give your runs a folder that stays
images = data.from_arrays(dataset.train, valid=dataset.train, normalize=(dataset.info.mean, dataset.info.std))
sizes = [1, 8, 64, 512, n]
epochs = 6
space = Space(learning_rate=log_uniform(1e-4, 1.0), batch_size=choice(sizes))
found = sweep(
    Experiment(data=images, model="linear", optimizer="sgd", epochs=epochs, objective="loss"),
    space.grid(10),
    directory=f"{RUNS.name}/batch-sizes",
)
loss = results.grid(found).valid_loss.isel(seed=0)  # dimensions batch_size, learning_rate, epoch
end = loss.isel(epoch=-1).fillna(np.inf)
best_rate = {size: float(end.learning_rate[end.sel(batch_size=str(size)).values.argmin()]) for size in sizes}

figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for size, marker in zip(sizes, MARKERS, strict=False):
    curve = loss.sel(batch_size=str(size), learning_rate=best_rate[size])
    words = f"{size}" if size < n else f"{n} (all)"
    axes[0].plot(curve.epoch, curve, marker=marker, ms=4, label=words)
    axes[1].plot(curve.epoch * (n // size), curve, marker=marker, ms=4)
axes[2].plot(sizes, [best_rate[size] for size in sizes], "o-", color="0.3")
axes[0].set(xlabel="epochs (looks at each image)", ylabel="mean loss, training images", title="Who is ahead per look?")
axes[1].set(xlabel="updates", xscale="log", title="And per update?")
axes[2].set(xlabel="batch size", ylabel="best learning rate", xscale="log", yscale="log", title="Which rate is best?")
figure.legend(*axes[0].get_legend_handles_labels(), title="batch size", ncols=5, loc="outside upper center")
for ax in axes:
    ax.grid(alpha=0.3)
first = {size: float(loss.sel(batch_size=str(size), learning_rate=best_rate[size]).isel(epoch=0)) for size in sizes}
last = {size: float(end.sel(batch_size=str(size)).min()) for size in sizes}
display(
    Markdown(
        f"After one epoch, batches of 8 have reached a loss of {first[8]:.3f}. Batch gradient descent has made one "
        f"update per epoch, and is at {last[n]:.3f} after {epochs}. Its best rate is {best_rate[n]:.2g}, that of "
        f"single examples {best_rate[1]:.2g}."
    )
)
assert max(first[8], first[64]) < last[n]
assert best_rate[1] < best_rate[64] <= best_rate[n]

# %% [markdown]
# Per update a larger batch is never worse; per look it is. The right-hand picture says why both must be so: with more
# examples the gradient is better, which allows a larger rate, until the rate meets a limit that has nothing to do with
# noise. From there on more examples buy nothing. The next two sections measure both sides: the noise, and the limit.
#
# What the pictures leave out is the machine: 64 examples in one matrix product take far less time than 64
# examples one after the other, on any processor. That is why nobody trains with single examples.

# %% [markdown]
# ## How noisy is a gradient?
#
# The examples of a batch are drawn independently, so the variance of their mean falls as one over their number:
#
# $$ \mathbb{E}\, \lVert g_B - \nabla \mathrm{loss} \rVert^2 = \frac{\mathrm{tr}(\Sigma)}{|B|}, \qquad
# \Sigma = \text{covariance of } \nabla \ell_i. $$
#
# The noise is as large as the gradient itself at the batch size $\mathrm{tr}(\Sigma) / \lVert \nabla \mathrm{loss}
# \rVert^2$, the *simple noise scale* of McCandlish et al. 2018. It is a probe of the library.
#
# **How does the noise scale change while the model learns?** Measured before the first step, and after one and five
# epochs.

# %%
few = (x[:5000], y[:5000])
draws, batch_sizes = 200, [1, 4, 16, 64, 256]


def loss_of(state, batch, hparams):
    """What a probe asks for: the mean loss of a batch."""
    measured = training.evaluate(
        model, state, batch, hparams, metrics={}, loss=losses.softmax_cross_entropy, prepare=prepare
    )
    return measured


@jax.jit
def epoch(state, rows, hparams):
    return jax.lax.scan(lambda s, r: (made.step(s, (x[r], y[r]), hparams)[0], None), state, rows)[0]


@functools.partial(jax.jit, static_argnames="size")
def squared_deviation(state, key, images, labels, size):
    """The mean squared distance of a batch's gradient from the whole gradient, over many random batches."""
    whole, _ = ravel_pytree(jax.grad(mean_loss)(state.params, images, labels))

    def deviation(key):
        rows = jax.random.randint(key, (size,), 0, len(labels))
        own, _ = ravel_pytree(jax.grad(mean_loss)(state.params, images[rows], labels[rows]))
        return jnp.sum(jnp.square(own - whole))

    return jnp.mean(jax.lax.map(deviation, jax.random.split(key, draws))), jnp.sum(jnp.square(whole))


noise_scale = jax.jit(functools.partial(training.probes.gradient_noise_scale, training=made, evaluate=loss_of))
WHEN = {0: "before the first step", 1: "after 1 epoch", 5: "after 5 epochs"}
state, scales, deviations, squares = made.init(jax.random.key(0), hparams), {}, {}, {}
for done in range(6):
    if done in WHEN:
        measured = [squared_deviation(state, jax.random.key(s), *few, size=s) for s in batch_sizes]
        deviations[done], squares[done] = [float(m[0]) for m in measured], float(measured[0][1])
        scales[done] = float(noise_scale(state, few, hparams))
    state = epoch(state, batching.epoch_indices(n, 64, seed=0, epoch=done), hparams)
variances = {done: squares[done] * scales[done] for done in WHEN}  # the trace of Sigma

# %%
_, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
line = np.array([1.0, 1e3])
for number, (done, words) in enumerate(WHEN.items()):
    ax.plot(batch_sizes, deviations[done], MARKERS[number], color=f"C{number}", ms=6, label=words)
    ax.plot(line, variances[done] / line, "-", color=f"C{number}", lw=0.9)
    ax.axhline(squares[done], color=f"C{number}", ls=":", lw=1.2)
    slope = np.polyfit(np.log(batch_sizes), np.log(deviations[done]), 1)[0]
    assert abs(slope + 1) < 0.15  # one over the batch size
ax.plot([], [], "-", color="0.3", lw=0.9, label="by the probe: $\\mathrm{tr}(\\Sigma)$ / batch size")
ax.plot([], [], ":", color="0.3", lw=1.2, label="the gradient's own square")
ax.set(xscale="log", yscale="log", xlabel="batch size", ylabel="squared distance from the whole gradient")
ax.set_title("At which batch size is the noise as large as the gradient?", fontsize="medium")
ax.legend(fontsize="small")
ax.grid(alpha=0.3)
shrunk, varied = (of[0] / of[5] for of in (squares, variances))
display(
    Markdown(
        "The noise scale is "
        + ", ".join(f"{scale:.0f} examples {WHEN[done]}" for done, scale in scales.items())
        + f". It grows because the gradient's square shrinks {shrunk:.0f}-fold, the variance of the examples' "
        f"gradients only {varied:.1f}-fold."
    )
)
assert scales[0] < scales[1] < scales[5]
assert shrunk > 5 * varied > 5
assert 20 < scales[0] < 50  # some thirty
assert scales[5] > 200  # hundreds

# %% [markdown]
# At the start some thirty examples make a gradient that is as large as its noise, later it takes hundreds. That is the
# reason to begin with small batches (or large rates) and to end with large batches (or small rates), which notebook 7
# takes up.
#
# ## A constant rate ends in a cloud
#
# On one coordinate with curvature $h$ and mini-batch noise of variance $\sigma^2 / |B|$ in the gradient, the
# distance $e$ from the minimum follows $e \leftarrow (1 - \mathrm{learning\_rate}\,h)\,e -
# \mathrm{learning\_rate}\cdot\mathrm{noise}$. It comes to rest, but not at zero: at the variance that a step
# leaves unchanged,
#
# $$ \mathbb{E}\,e^2 = \frac{\mathrm{learning\_rate}\; \sigma^2 / |B|}{h\,(2 - \mathrm{learning\_rate}\; h)}
# \;\approx\; \frac{\mathrm{learning\_rate}}{|B|} \cdot \frac{\sigma^2}{2h}. $$
#
# For small rates only the quotient of rate and batch size counts: the *linear scaling rule* (Goyal et al. 2017,
# section 2.1; Smith and Le 2018). **Does it hold on real data?** Softmax regression on the digits, with an L2 penalty
# so that there is one minimum, which L-BFGS finds to rounding. Then 6 rates and 4 seeds for each of 3 batch sizes,
# and the mean excess over the minimum once the fall is over.

# %%
digits = data.load("digits", valid=None)
dx = jnp.asarray(digits.train[0], jnp.float32).reshape(len(digits.train[0]), -1) / digits.info.scale
dx, dy = dx - dx.mean(0), jnp.asarray(digits.train[1])  # centered: why, is the next section's question
STRENGTH = 0.02
ridge = make_training(
    model, losses.softmax_cross_entropy, optimizers.sgd, example=(dx[:2], dy[:2]), penalty=regularizers.l2
)


def objective(params):
    scores, _ = model.apply(params, {}, dx, train=True, key=None, hparams={})
    return jnp.mean(losses.softmax_cross_entropy(scores, dy)) + regularizers.l2(
        {"kernel": params["dense"]["kernel"]}, strength=STRENGTH
    )


exact = make_training(
    model, losses.softmax_cross_entropy, optimizers.lbfgs, example=(dx[:2], dy[:2]), penalty=regularizers.l2
)
unit = {"learning_rate": 1.0, "l2": STRENGTH}
start = exact.init(jax.random.key(0), unit)
solved, trace = jax.jit(
    lambda state: jax.lax.scan(lambda s, _: (exact.step(s, (dx, dy), unit)[0], objective(s.params)), state, length=60)
)(start)
minimum = objective(solved.params)
print(f"objective {trace[0]:.4f} at the start, {minimum:.6f} at the minimum")


# %%
@functools.partial(jax.jit, static_argnames=("every",))
def excesses(rates, rows, every):
    """Trains a member for each rate on its own rows [rates, steps, batch]; the excess after every so many steps."""

    def member(rate, own):
        numbers = {"learning_rate": rate, "l2": STRENGTH}

        def segment(state, some):
            state = jax.lax.scan(lambda s, r: (ridge.step(s, (dx[r], dy[r]), numbers)[0], None), state, some)[0]
            return state, objective(state.params) - minimum

        state = ridge.init(jax.random.key(0), numbers)._replace(params=solved.params)  # starts at the minimum
        return jax.lax.scan(segment, state, own.reshape(-1, every, own.shape[-1]))[1]

    return jax.lax.map(lambda both: member(*both), (rates, rows), batch_size=8)


steps, seeds = 2000 if not FULL else 20_000, 4
rates = np.geomspace(0.02, 0.64, 6).astype(np.float32)
floors = {}
for size in (4, 16, 64):
    rows = jax.random.randint(jax.random.key(size), (len(rates) * seeds, steps, size), 0, len(dy))
    curves = excesses(jnp.repeat(jnp.asarray(rates), seeds), rows, every=10)
    floors[size] = np.asarray(curves).reshape(len(rates), seeds, -1)[..., curves.shape[-1] // 2 :].mean((1, 2))

# %%
_, axes = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True, layout="constrained")
for (size, floor), marker in zip(floors.items(), MARKERS, strict=False):
    axes[0].plot(rates, floor, marker=marker, ms=5, label=f"batch size {size}")
    axes[1].plot(rates / size, floor, marker=marker, ms=5)
axes[0].set(xscale="log", yscale="log", xlabel="learning rate", ylabel="mean excess over the minimum")
axes[0].set_title("How large is the cloud?")
axes[1].set(xscale="log", xlabel="learning rate / batch size", title="Do the lines fall on one?")
ticks(axes[0], rates)
axes[0].legend()
for ax in axes:
    ax.grid(alpha=0.3)
# Rates of quotient 4 are two places apart, as batch sizes are: the same quotient of rate and batch size.
ratios = [floors[16][2:5] / floors[4][:3], floors[64][2:5] / floors[16][:3]]
slope = np.polyfit(np.log(rates[:4]), np.log(floors[16][:4]), 1)[0]
display(
    Markdown(
        f"The excess grows with the rate to the power {slope:.2f}. With rate and batch size both four times as large "
        f"it is {np.min(ratios):.2f} to {np.max(ratios):.2f} times what it was, while the rate alone changes it "
        f"{floors[16][4] / floors[16][0]:.0f}-fold over the same range."
    )
)
assert 0.8 < slope < 1.3
assert np.abs(np.log(ratios)).max() < np.log(1.7)

# %% [markdown]
# So there are two ways to reach the minimum: let the rate fall (Robbins and Monro 1951: the rates must add up to
# infinity, their squares must not), or let the batch grow. The cloud is not only a nuisance: its noise may be what lets
# a network leave places that are narrow.
#
# ## Conditioning: the limit that is not noise
#
# Without noise, on a quadratic with curvatures between $\mu$ and $L$, each coordinate shrinks by $1 -
# \mathrm{learning\_rate}\cdot h$ per step. Above $2 / L$ the steepest one grows; the best constant rate is $2 / (L +
# \mu)$, and then the slowest error shrinks by
#
# $$ \frac{\kappa - 1}{\kappa + 1} \text{ with } \kappa = L / \mu \text{ (gradient descent)}, \qquad
# \frac{\sqrt\kappa - 1}{\sqrt\kappa + 1} \text{ (momentum at its best; Polyak 1964)}. $$
#
# **How many steps does it take to come a thousand times closer?** Measured for eight condition numbers at once, as
# the lanes of a `vmap`: in this program nothing is static, not even the curvature.

# %%
kappas = np.geomspace(3, 1000, 8).astype(np.float32)


def distances(kappa, method, most=8000):
    """The distance from the minimum of a bowl of curvatures 1 / kappa and 1, after every step."""
    curvature = jnp.stack([1 / kappa, jnp.ones(())])
    root = jnp.sqrt(kappa)
    if method == "sgd":
        optimizer = optimizers.sgd(learning_rate=2 / (1 + 1 / kappa))
    else:
        optimizer = optimizers.momentum(learning_rate=4 / (1 + 1 / root) ** 2, momentum=((root - 1) / (root + 1)) ** 2)

    def step(carry, _):
        place, memory = carry
        updates, memory = optimizer.update(curvature * place, memory, place)
        return (place + updates, memory), jnp.linalg.norm(place)

    begin = jnp.ones(2)
    return jax.lax.scan(step, (begin, optimizer.init(begin)), length=most)[1]


needed = {}
for method in ("sgd", "momentum"):
    far = np.asarray(jax.jit(jax.vmap(functools.partial(distances, method=method)))(jnp.asarray(kappas)))
    needed[method] = (far > 1e-3 * far[:, :1]).sum(1)
contraction = {
    "sgd": (kappas - 1) / (kappas + 1),
    "momentum": (np.sqrt(kappas) - 1) / (np.sqrt(kappas) + 1),
}
_, ax = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
for method, marker, words in (("sgd", "o", "gradient descent"), ("momentum", "s", "momentum")):
    (line,) = ax.plot(kappas, needed[method], marker, ms=6, label=f"{words}, measured")
    predicted = np.log(1e-3) / np.log(contraction[method])
    ax.plot(
        kappas,
        predicted,
        "--",
        color=line.get_color(),
        lw=1.2,
        label=f"{words}, $\\log 10^{{-3}} / \\log$ of the factor",
    )
ax.set(xscale="log", yscale="log", xlabel="condition number", ylabel="steps to a 1000th of the distance")
ax.set_title("How many steps does bad conditioning cost?", fontsize="medium")
ax.legend(fontsize="small")
ax.grid(alpha=0.3)
powers = {m: np.polyfit(np.log(kappas[2:]), np.log(needed[m][2:]), 1)[0] for m in needed}
display(
    Markdown(
        f"The number of steps grows with the condition number to the power {powers['sgd']:.2f} for gradient descent "
        f"and {powers['momentum']:.2f} for momentum. At {kappas[-1]:.0f} that is {needed['sgd'][-1]} steps against "
        f"{needed['momentum'][-1]}."
    )
)
assert 0.9 < powers["sgd"] < 1.1
assert 0.4 < powers["momentum"] < 0.65

# %% [markdown]
# Gradient descent lies on its line; momentum has the slope of its line but needs more steps: at the best numbers the
# two modes of a coordinate coincide, and its error falls like $k$ times the $k$-th power of the factor.
#
# ### The same on images: why inputs are centered
#
# For a linear model with squared loss the Hessian is the matrix of the inputs' second moments, $\frac{1}{10 n} X^T X$
# for each of its ten outputs (the loss is a mean over them; $X$ has a column of ones for the bias). Pixels are never
# negative, so all of them have a common part, their mean, and that makes one huge eigenvalue which decides the largest
# rate for all directions (LeCun et al. 1998, *Efficient BackProp*, section 4.3).
#
# **Does the largest eigenvalue predict where gradient descent diverges, and how much does centering help?** The probe
# `sharpness` measures the eigenvalue by the Lanczos method; a vmapped population of rates looks where the loss grows.

# %%
targets = jax.nn.one_hot(dy, 10)
raw = jnp.asarray(digits.train[0], jnp.float32).reshape(len(dy), -1) / digits.info.scale
quotients = np.geomspace(0.25, 2.0, 25).astype(np.float32)  # of the rate and the predicted limit
count, found = 100, {}
_, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for words, inputs, look in (("raw", raw, "s--"), ("centered", raw - raw.mean(0), "o-")):
    least = make_training(model, losses.half_squared, optimizers.sgd, example=(inputs[:2], targets[:2]))

    def of_batch(state, batch, hparams):
        return training.evaluate(model, state, batch, hparams, metrics={}, loss=losses.half_squared)

    start = least.init(jax.random.key(0), {"learning_rate": 0.1})
    top = training.probes.sharpness(start, (inputs, targets), {}, training=least, evaluate=of_batch)

    def train(rate, least=least, start=start, inputs=inputs):
        def step(state, _):
            state, info = least.step(state, (inputs, targets), {"learning_rate": rate})
            return state, info.loss

        return jax.lax.scan(step, start, length=count)[1]

    curves = np.asarray(jax.jit(jax.vmap(train))(quotients * 2 / top))
    best = int(np.nanargmin(np.where(np.isfinite(curves[:, -1]), curves[:, -1], np.inf)))
    grew = quotients[~(curves[:, -1] < curves[:, 0])]
    of_pixels = float(jnp.linalg.eigvalsh(inputs.T @ inputs / (10 * len(inputs)))[-1])
    found[words] = float(top), curves[best], float(grew.min()), of_pixels
    axes[0].plot(quotients, np.clip(curves[:, -1] / curves[0, 0], 0, 3), look, ms=4, label=words)
    axes[1].plot(curves[best], look[1:], lw=1.6, label=f"{words}, rate {quotients[best] * 2 / float(top):.2g}")
axes[0].axvline(1.0, color="0.4", ls=":")
axes[0].set(xlabel="learning rate / (2 / sharpness)", ylabel=f"loss after {count} steps / at the start", ylim=(0, 2.5))
axes[0].set_title("Where does it diverge?", fontsize="medium")
axes[1].set(xlabel="steps, all examples in each", ylabel="half squared loss", yscale="log")
axes[1].set_title("How fast is it at its best rate?", fontsize="medium")
for ax in axes:
    ax.legend()
    ax.grid(alpha=0.3)
display(
    Markdown(
        f"The sharpness is {found['raw'][0]:.2f} with raw pixels and {found['centered'][0]:.2f} with centered ones. "
        f"The first rate of the sweep at which the loss grows is {found['raw'][2]:.2f} and {found['centered'][2]:.2f} "
        f"times 2 / sharpness. The pixels by themselves have a largest eigenvalue of {found['raw'][3]:.2f} raw and "
        f"{found['centered'][3]:.2f} centered: with centered pixels the largest that is left is the bias's own, 1/10."
    )
)
assert found["raw"][0] > 2 * found["centered"][0]
assert abs(found["centered"][0] - 0.1) < 1e-3
assert found["centered"][3] < 0.1 < found["raw"][3]
assert all(0.95 < own[2] < 1.3 for own in found.values())
assert found["centered"][1][-1] < found["raw"][1][-1]

# %% [markdown]
# ## Shuffling
#
# Files are often sorted. **What happens if the order of the examples is left as it is, and is it better to shuffle
# again in each epoch, or to draw at random with replacement as the theory of stochastic gradients assumes?** Four
# orders of the Fashion-MNIST images, the same rate, the same number of looks.

# %%
size, rounds, seeds = 20, 5, 3
steps = n // size
by_class = np.argsort(np.asarray(y), kind="stable")


def order(kind, seed, epoch):
    rng = np.random.default_rng([seed, epoch])
    return {
        "sorted by class": lambda: by_class,
        "shuffled once": lambda: np.random.default_rng(seed).permutation(n),
        "with replacement": lambda: rng.integers(0, n, n),
        "shuffled anew": lambda: batching.epoch_indices(n, 1, seed=seed, epoch=epoch).ravel(),
    }[kind]()[: steps * size].reshape(steps, size)


KINDS = ["sorted by class", "with replacement", "shuffled once", "shuffled anew"]
rows = np.stack([[[order(k, s, e) for e in range(rounds)] for s in range(seeds)] for k in KINDS])


@jax.jit
def losses_of(rows, images, labels):
    """The loss over all images after each epoch: rows [epochs, steps, batch] of one member."""

    def one(state, some):
        state = epoch(state, some, {"learning_rate": 0.003})
        return state, mean_loss(state.params, images, labels)

    return jax.lax.scan(one, made.init(jax.random.key(0), {"learning_rate": 0.003}), rows)[1]


curves = np.array([[losses_of(own, x, y) for own in of_kind] for of_kind in rows])
_, ax = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
for kind, curve, marker in zip(KINDS, curves, MARKERS, strict=False):
    ax.plot(range(1, rounds + 1), curve.mean(0), marker=marker, ms=5, label=kind)
ax.set(xlabel="epochs", ylabel="loss, all training images, mean over seeds", xticks=range(1, rounds + 1))
ax.set_title("Does the order of the examples matter?", fontsize="medium")
ax.legend(fontsize="small")
ax.grid(alpha=0.3)
end = {kind: float(curve[:, -1].mean()) for kind, curve in zip(KINDS, curves, strict=True)}
display(Markdown("Loss after the last epoch: " + ", ".join(f"{v:.3f} {kind}" for kind, v in end.items()) + "."))
assert end["sorted by class"] > 2 * end["shuffled anew"]

# %% [markdown]
# With the sorted order each class in turn is learned and forgotten: at the end of an epoch the classifier has only seen
# ankle boots for a while. The three random orders are hard to tell apart here: what separates them appears later, in
# the cloud. An epoch *without* replacement uses each example exactly once, so a part of the noise cancels within
# the epoch: what one example pushes too far, the others push back. For small rates the excess then should fall with
# the square of the rate and not with the rate (Bottou 2009; Gürbüzbalaban, Ozdaglar and Parrilo 2021).
#
# **Is the cloud smaller?** The strongly convex problem of above, its excess at the ends of epochs.

# %%
size, rounds, seeds = 8, 40, 4
steps = len(dy) // size


def epochs_of(kind, seed):
    rng = np.random.default_rng(seed)
    if kind == "with replacement":
        return rng.integers(0, len(dy), (rounds, steps, size))
    once = rng.permutation(len(dy))
    each = [once if kind == "shuffled once" else rng.permutation(len(dy)) for _ in range(rounds)]
    return np.stack([own[: steps * size].reshape(steps, size) for own in each])


small, floors = np.geomspace(0.005, 0.16, 6).astype(np.float32), {}
_, ax = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
for kind, marker in (("with replacement", "s"), ("shuffled once", "D"), ("shuffled anew", "^")):
    rows = np.stack([epochs_of(kind, seed) for seed in range(seeds)]).reshape(seeds, -1, size)
    every = jnp.asarray(np.tile(rows, (len(small), 1, 1)))
    curves = np.asarray(excesses(jnp.repeat(jnp.asarray(small), seeds), every, every=steps))
    floors[kind] = curves.reshape(len(small), seeds, rounds)[..., rounds // 2 :].mean((1, 2))
    ax.plot(small, floors[kind], marker=marker, ms=5, color=f"C{KINDS.index(kind)}", label=kind)
ax.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="mean excess at the ends of epochs")
ax.set_title("How large is the cloud of each order?", fontsize="medium")
ticks(ax, small)
ax.legend()
ax.grid(alpha=0.3)
gain = floors["with replacement"] / floors["shuffled anew"]
power = {kind: np.polyfit(np.log(small), np.log(floor), 1)[0] for kind, floor in floors.items()}
once = floors["shuffled once"] / floors["shuffled anew"]
display(
    Markdown(
        f"Drawing with replacement leaves {gain.min():.0f} to {gain.max():.0f} times the excess of shuffling anew. "
        "The excess grows with the rate to the power "
        + ", ".join(f"{value:.1f} ({kind})" for kind, value in power.items())
        + f". One order for all epochs leaves {once[-1]:.1f} times the excess of a new one at the highest rate, and "
        f"{once[0]:.0f} times at the lowest: what does not cancel within an epoch is the same in each, and adds up."
    )
)
assert gain.min() > 2
assert power["with replacement"] < 1.2
assert power["shuffled anew"] > 1.7
assert once[0] > 5 * once[-1] > 5

# %% [markdown]
# ## A curriculum: from easy to hard
#
# If the order may be chosen, should easy examples come first (Bengio et al. 2009)? Easy for whom is decided by a
# teacher: here a linear classifier, trained for three epochs, whose loss for an image is its difficulty (Hacohen and
# Weinshall 2019). A small network then trains on a growing part of the ranking: the easiest fifth at first,
# everything from 60 % of the steps on. Three controls: the hardest first (*anti-curriculum*), a growing part in
# random order (is it the growth that helps?), and all images from the start.
#
# **Does the order help, with right labels and with 30 % wrong ones?** Wu et al. 2021 tried it at length: not in
# general, but with few steps or with noisy labels.

# %%
divided = data.load("fashion_mnist" if FULL else "fashion_mnist_small", valid=0.3)
(cx, cy), (vx, vy) = jax.device_put((divided.train, divided.valid))
rng = np.random.default_rng(0)
wrong = rng.random(len(cy)) < 0.3
spoiled = jnp.asarray(np.where(wrong, (np.asarray(cy) + rng.integers(1, 10, len(cy))) % 10, cy).astype(np.int32))
student = models.mlp(outputs=10, widths=64)
taught = make_training(
    student, losses.softmax_cross_entropy, optimizers.momentum, example=(cx[:2], cy[:2]), prepare=prepare
)
NUMBERS, length, batch = {"learning_rate": 0.01}, 400 if not FULL else 4000, 50


@jax.jit
def difficulty(images, labels, rows):
    def step(state, r):
        return made.step(state, (images[r], labels[r]), {"learning_rate": 0.003})[0], None

    teacher = jax.lax.scan(step, made.init(jax.random.key(0), {"learning_rate": 0.003}), rows)[0]
    scores, _ = model.apply(teacher.params, {}, prepare(images), train=False, key=None, hparams={})
    return losses.softmax_cross_entropy(scores, labels)


# %%
@jax.jit
def accuracies(labels, ranking, first, seed, part):
    """Validation accuracy along a training that begins with the first share of a ranking."""

    def step(state, i):
        share = jnp.minimum(first + (1 - first) * i / (0.6 * length), 1.0)
        places = jax.random.uniform(jax.random.fold_in(jax.random.key(seed), i), (batch,)) * share * len(labels)
        rows = ranking[places.astype(jnp.int32)]
        return taught.step(state, (cx[rows], labels[rows]), NUMBERS)[0], None

    def segment(state, some):
        state = jax.lax.scan(step, state, some)[0]
        measured = training.evaluate(
            student, state, part, NUMBERS, metrics={"accuracy": metrics.accuracy}, prepare=prepare
        )
        return state, measured["accuracy"]

    return jax.lax.scan(segment, taught.init(jax.random.key(seed), NUMBERS), jnp.arange(length).reshape(20, -1))[1]


rows = np.concatenate([batching.epoch_indices(len(cy), 50, seed=0, epoch=e) for e in range(3)])
ORDERS = ["easy first", "hard first", "random, growing", "all from the start"]
LABELS = {"right labels": cy, "30 % wrong labels": spoiled}
of_seeds, along = jax.vmap(accuracies, (None, None, None, 0, None)), {}
for words, labels in LABELS.items():
    ranked = jnp.argsort(difficulty(cx, labels, rows))
    shuffled = jnp.asarray(rng.permutation(len(cy)))
    plans = [(ranked, 0.2), (ranked[::-1], 0.2), (shuffled, 0.2), (shuffled, 1.0)]
    for name, (ranking, first) in zip(ORDERS, plans, strict=True):
        along[words, name] = np.asarray(of_seeds(labels, ranking, first, jnp.arange(4), (vx, vy)))
hardest = float(
    wrong[np.asarray(ranked)[-len(ranked) // 5 :]].mean()
)  # of the hardest fifth, the share of wrong labels

# %%
_, axes = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True, layout="constrained")
at = np.arange(1, 21) * length / 20
for ax, words in zip(axes, LABELS, strict=True):
    for name, marker in zip(ORDERS, MARKERS, strict=False):
        curves = along[words, name]
        ax.plot(at, curves.mean(0), marker=marker, ms=4, label=name)
        ax.fill_between(at, curves.min(0), curves.max(0), alpha=0.15)
    ax.set(xlabel="steps", title=f"Does the order help with {words}?")
    ax.grid(alpha=0.3)
axes[0].set(ylabel="validation accuracy (right labels)", ylim=(0, 0.88))
axes[0].legend(fontsize="small", loc="lower right")
early, reached = ({key: curves[:, place].mean() for key, curves in along.items()} for place in (4, -1))
for words in LABELS:
    display(
        Markdown(
            f"{words}, after a quarter of the steps and at the end: "
            + ", ".join(f"{early[words, name]:.1%} and {reached[words, name]:.1%} {name}" for name in ORDERS)
            + "."
        )
    )
assert early["30 % wrong labels", "hard first"] < early["30 % wrong labels", "easy first"] - 0.2
assert early["right labels", "easy first"] < early["right labels", "all from the start"]
ends = [reached["30 % wrong labels", name] for name in ORDERS]
assert max(ends) - min(ends) < 0.06  # the order is nearly forgotten at the end
apart = max(np.ptp([reached[words, name] for name in ORDERS]) for words in LABELS)
of_the_seeds = max(np.ptp(curves[:, -1]) for curves in along.values())
few_steps = [early[words, "easy first"] - early[words, "all from the start"] for words in LABELS]
at_the_end = [reached[words, "easy first"] - reached[words, "all from the start"] for words in LABELS]
display(
    Markdown(
        f"With wrong labels {hardest:.0%} of the hardest fifth are wrongly labelled. At the end the orders lie at most "
        f"{100 * apart:.1f} points apart, the seeds of one order up to {100 * of_the_seeds:.1f}. Easy first against "
        f"all from the start: {100 * few_steps[0]:+.1f} points after a quarter of the steps and "
        f"{100 * at_the_end[0]:+.1f} at the end with right labels, {100 * few_steps[1]:+.1f} and "
        f"{100 * at_the_end[1]:+.1f} with wrong ones."
    )
)
assert hardest > 0.7
assert max(few_steps) < 0
assert at_the_end[0] < 0 < at_the_end[1] < of_the_seeds
assert apart < 2 * of_the_seeds

# %% [markdown]
# With wrong labels the hardest images are mostly the wrongly labelled ones, and who begins with them learns them first.
# With right labels the easy images alone teach too little, so no order at all is best for most of the way. At the end
# the orders lie about as far apart as seeds do. As with Wu et al., there is no gain in general; their gain under noise
# is no larger than what seeds do here, and the one with few steps does not show. Look for the effect of a curriculum
# before you build one in.
#
# ## Gradient noise
#
# So far the noise of a gradient came from drawing examples. It can also be *added*: to each element of the gradient, in
# step $t = 0, 1, \dots$, a normal number of variance
#
# $$ \sigma_t^2 = \frac{\eta}{(1 + t)^\gamma}, \qquad \gamma = 0.55 $$
#
# (Neelakantan et al. 2015, *Adding gradient noise improves learning for very deep networks*, section 3; Ruder 2016,
# section 6.4). The claim: deep and narrow networks become less dependent on good initial weights. In the library it is
# a wrapper of the optimizer.
#
# **Does noise help a deep network, and from which initial weights?** Ten hidden layers of 16 units on the digits; the
# initial kernels are multiplied by a factor. At 1 they are drawn as in He et al. 2015; below, signals and gradients
# fade from layer to layer, above they explode. Factor, $\eta$, rate and seed are all numbers, so all trainings are
# lanes of one program; each pair of factor and $\eta$ is judged at its own best rate.

# %%
written = data.load("digits", valid=0.2)
(wx, wy), unseen = jax.device_put((written.train, written.valid))


def standardized(images):
    return (images / written.info.scale - written.info.mean[0]) / written.info.std[0]


deep = models.mlp(outputs=10, widths=(16,) * 10)
shaken = make_training(
    deep, losses.softmax_cross_entropy, optimizers.momentum, example=(wx[:2], wy[:2]), prepare=standardized,
    wrap=[wrappers.gradient_noise],
)  # fmt: skip
FACTORS, ETAS = (0.4, 0.6, 1.0, 1.4), (0.0, 0.01, 0.1)
RATES, SEEDS = (0.003, 0.01, 0.03, 0.1), range(3 if not FULL else 8)
drawn = jax.random.randint(jax.random.key(0), (600 if not FULL else 3000, 32), 0, len(wy))  # the same for all lanes


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, 0, 0, 0, None))
def deeply(factor, eta, rate, seed, part):
    """The accuracy on a part at the end, and the length of the first gradient."""
    numbers = {"learning_rate": rate, "eta": eta}
    begin = shaken.init(jax.random.key(seed), numbers)
    begin = begin._replace(params=jax.tree.map(lambda p: factor * p if p.ndim == 2 else p, begin.params))

    def step(state, r):
        state, info = shaken.step(state, (wx[r], wy[r]), numbers)
        return state, info.grad_norm

    state, lengths = jax.lax.scan(step, begin, drawn)
    metric = {"accuracy": metrics.accuracy}
    return training.evaluate(deep, state, part, numbers, metrics=metric, prepare=standardized)["accuracy"], lengths[0]


lanes = [jnp.asarray(axis.ravel()) for axis in np.meshgrid(FACTORS, ETAS, RATES, SEEDS, indexing="ij")]
shape = len(FACTORS), len(ETAS), len(RATES), len(SEEDS)
right, lengths = (np.asarray(found).reshape(shape) for found in deeply(*lanes, unseen))
best = right.mean(-1, keepdims=True).argmax(2, keepdims=True)  # of each pair its own rate
right = np.take_along_axis(right, best, axis=2)[:, :, 0]  # factor, eta, seed

# %%
_, ax = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
for number, eta in enumerate(ETAS):
    place = np.array(FACTORS) * 1.03 ** (number - 1)  # side by side
    words = f"noise, $\\eta$ = {eta:g}" if eta else "no noise"
    ax.plot(place, right[:, number].mean(-1), color=f"C{number}", marker=MARKERS[number], ms=7, label=words)
    ax.plot(place, right[:, number], MARKERS[number], color=f"C{number}", ms=4, mfc="none")
ax.set(xscale="log", xlabel="factor of the initial kernels", ylabel="validation accuracy (small: seeds)", ylim=(0, 1))
ax.set_title("From which initial weights does gradient noise help?", fontsize="medium")
ticks(ax, FACTORS)
ax.legend(fontsize="small")
ax.grid(alpha=0.3)
mean = right.mean(-1)
count = sum(leaf.size for leaf in jax.tree.leaves(deep.init(jax.random.key(0), standardized(wx[:2]), {})[0]))
noises = [(eta * count) ** 0.5 for eta in ETAS[1:]]
display(
    Markdown(
        "Mean accuracy without noise, with the smaller and with the larger noise; length of the first gradient: "
        + "; ".join(
            f"{mean[i, 0]:.2f}, {mean[i, 1]:.2f}, {mean[i, 2]:.2f}, and {lengths[i, 0].mean():.2g} at factor {factor}"
            for i, factor in enumerate(FACTORS)
        )
        + f". The first noise has a length of about {noises[0]:.0f} or {noises[1]:.0f}."
    )
)
helps = mean[:, 1:].max(1) - mean[:, 0]
assert mean[0, 0] < 0.2, "without noise the training stands still"
assert helps[:2].min() > 0.1, "where the kernels are too small, noise helps"
assert mean[1, 1] < mean[1, 0] < mean[1, 2], "but not each noise"
assert helps[2] < np.ptp(right[2, 0]), "at their right size no more than another seed"
assert helps[3] < 0.1, "where they are too large it mends nothing"
assert lengths[0].mean() < noises[0] < noises[1] < lengths[3].mean()
assert mean[2, 0] > mean[:2, 1:].max(), "and weights of the right size do more than noise"

# %% [markdown]
# Half of the claim holds here. Where the initial kernels are too small, the noise is many times as long as the
# gradient: it moves the weights away from zero at random until there is a gradient to follow, and some trainings that
# stood still begin. But $\eta$ is then one more number to tune: at factor 0.6 the larger noise helps and the smaller
# one harms. From weights of the right size noise changes no more than seeds do, and where the gradients explode it is
# little beside them and mends nothing. And weights of the right size without noise are better than either noise from
# weights that are too small: choose the initial weights first, or normalize (notebook 4).
#
# ## Exercises
#
# **1.** The formula for the cloud says that its variance grows beyond all limits as the rate comes near $2/h$, even
# though each single step without noise would still converge there. Check the formula with 4,000 simulated members for
# $h = 1$, noise of variance 1 and the rates 0.1, 1 and 1.9.
#
# <details><summary>Solution 1</summary>
#
# The stationary variance solves $v = (1 - \mathrm{rate}\,h)^2 v + \mathrm{rate}^2 \sigma^2$.
#
# ```python
# for rate in (0.1, 1.0, 1.9):
#     def step(e, key):
#         return (1 - rate) * e - rate * jax.random.normal(key, e.shape), None
#     e = jax.lax.scan(step, jnp.zeros(4000), jax.random.split(jax.random.key(0), 300))[0]
#     expected = rate / (2 - rate)
#     print(f"rate {rate}: variance {jnp.var(e):.3f}, expected {expected:.3f}")
#     assert abs(jnp.var(e) / expected - 1) < 0.15
# ```
# </details>
#
# **2.** A batch of $|B|$ different examples out of $n$ (without replacement) has less noise than one drawn with
# replacement: the variance has the factor $\frac{n - |B|}{n - 1}$. Check it with $n = 64$ random numbers and $|B| =
# 16$. What is it for $|B| = n$, and what does that say about batch gradient descent?
#
# <details><summary>Solution 2</summary>
#
# For $|B| = n$ the factor is 0: the whole gradient has no noise, whereas a sample of $n$ *with* replacement still has.
#
# ```python
# rng = np.random.default_rng(0)
# values = rng.normal(size=64)
# means = np.array([rng.permutation(values)[:16].mean() for _ in range(20_000)])
# expected = values.var() / 16 * (64 - 16) / (64 - 1)
# assert abs(means.var() / expected - 1) < 0.05
# ```
# </details>
#
# **3.** Let the rate fall in the noise-floor experiment: does the excess go to zero? Start at the minimum with rate
# 0.3 and batches of 4, and compare a constant rate with `schedules.inverse_sqrt` and `schedules.linear`.
#
# <details><summary>Solution 3</summary>
#
# Both end far below the constant rate, since the cloud is as large as the rate of the last steps makes it, and both
# rates end at no more than about a tenth of the peak. In the limit the sum of the rates must be infinite and that of
# their squares finite.
#
# ```python
# from jaxopt_intro import schedules
# falls = {"constant": schedules.constant(), "inverse_sqrt": schedules.inverse_sqrt(warmup=20),
#          "linear": schedules.linear(length=2000)}
# rows, left = jax.random.randint(jax.random.key(0), (2000, 4), 0, len(dy)), {}
# for name, schedule in falls.items():
#     def step(state, r):
#         rate = 0.3 * schedule(state.step)
#         return ridge.step(state, (dx[r], dy[r]), {"learning_rate": rate, "l2": STRENGTH})[0], objective(state.params)
#     begin = ridge.init(jax.random.key(0), {"learning_rate": 0.3, "l2": STRENGTH})._replace(params=solved.params)
#     left[name] = float(jax.lax.scan(step, begin, rows)[1][-100:].mean() - minimum)
# print(left)
# assert max(left["inverse_sqrt"], left["linear"]) < 0.5 * left["constant"]
# ```
# </details>
#
# **4.** Nesterov's momentum (`optimizers.nesterov`) also needs a number of steps that grows with $\sqrt\kappa$. For
# which momentum? Sweep it, for $\kappa = 100$ and the rate $1/L$, and compare the best with $\frac{\sqrt\kappa -
# 1}{\sqrt\kappa + 1}$.
#
# <details><summary>Solution 4</summary>
#
# ```python
# kappa, tried = 100.0, jnp.linspace(0.5, 0.98, 49)
# curvature = jnp.array([1 / kappa, 1.0])
# def far(momentum):
#     optimizer = optimizers.nesterov(learning_rate=1.0, momentum=momentum)
#     def step(carry, _):
#         place, memory = carry
#         updates, memory = optimizer.update(curvature * place, memory, place)
#         return (place + updates, memory), None
#     begin = jnp.ones(2)
#     return jnp.linalg.norm(jax.lax.scan(step, (begin, optimizer.init(begin)), length=100)[0][0])
# best = tried[jnp.argmin(jax.vmap(far)(tried))]
# print(f"best momentum {best:.2f}, by the formula {9 / 11:.2f}")
# assert abs(best - 9 / 11) < 0.06
# ```
# </details>
