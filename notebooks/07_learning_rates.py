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
# # 7. Learning rates
#
# The learning rate is the number that matters most, and the one that no theory gives you. After this notebook you know
#
# - how to find it: 64 rates trained for 100 steps each, all at once, and what the usual range test gets wrong;
# - what schedules do, and why each has to be compared at its own best rate;
# - what warm-up is for, measured as the range of rates that it makes usable;
# - cyclical rates, warm restarts, and how the rests of one run become an ensemble;
# - that the batch size can grow in place of the rate falling;
# - how L2 in the loss differs from decoupled weight decay, on the grid of Loshchilov and Hutter, and when their picture
#   turns around.
#
# It follows Yao's lecture *An Introduction to Optimization Methods in Deep Learning* and Ruder 2017, *Optimization for
# deep learning highlights in 2017* (decoupled decay, tuning the learning rate, warm restarts, snapshot ensembles), and
# the papers that each section cites.

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
    results,
    schedules,
    sweep,
    training,
)  # fmt: skip
from jaxopt_intro.data import batching

SIZE = os.environ.get("JAXOPT_INTRO_SIZE", "small")  # "full": all images and more trials; minutes to hours on two cores
FULL = SIZE == "full"
plt.style.use("tableau-colorblind10")
MARKERS = "osD^vP*X"
RUNS = tempfile.TemporaryDirectory()  # goes away with the notebook; give your runs a folder that stays

# %% [markdown]
# ## The rate finder, done right
#
# The usual *range test* (after Smith 2017, section 3.3, who raises the rate in a straight line) starts one training
# with a tiny rate, multiplies the rate by a constant in every step, and draws the loss against the rate. One looks
# for where it falls fastest, or for the lowest point and divides by ten. It costs one short run, but no rate is
# measured by itself: whatever a rate does, it does it to weights that all the smaller rates before it have trained,
# for a single step, and on a single batch.
#
# With `vmap` the honest experiment costs no more patience: 64 rates, each with the same initial weights and the same
# 100 batches, as one compiled program. A network with one hidden layer on Fashion-MNIST (Xiao et al. 2017):

# %%
dataset = data.load("fashion_mnist" if FULL else "fashion_mnist_small", valid=0.2)
(x, y), (valid_x, valid_y) = jax.device_put((dataset.train, dataset.valid))
SEEN, VALID = (x[:1000], y[:1000]), (valid_x, valid_y)  # on what is measured


def prepare(images):
    return (images / dataset.info.scale - dataset.info.mean[0]) / dataset.info.std[0]


model = models.mlp(outputs=10, widths=64)
BATCH = 50


def make(schedule=()):
    """A training of rows of the training set, with momentum and a schedule of the learning rate."""
    made = make_training(
        model,
        losses.softmax_cross_entropy,
        optimizers.momentum,
        example=(x[:2], y[:2]),
        prepare=prepare,
        schedule=schedule,
    )
    return made._replace(step=lambda state, rows, hparams: made.step(state, (x[rows], y[rows]), hparams))


def measure(state, part):
    return training.evaluate(
        model, state, part, {}, metrics={"accuracy": metrics.accuracy}, loss=losses.softmax_cross_entropy,
        prepare=prepare,
    )  # fmt: skip


def batches(steps, seed=0):
    """Rows of the batches of so many steps."""
    per_epoch = len(y) // BATCH
    epochs = [batching.epoch_indices(len(y), BATCH, seed=seed, epoch=e) for e in range(-(-steps // per_epoch))]
    return jnp.asarray(np.concatenate(epochs)[:steps])


# %%
rates = np.geomspace(1e-4, 3.0, 64).astype(np.float32)
plain = make()
moments = [10, 30, 100, 300]


@jax.jit
def of_rate(rate, part):
    """The loss after 10, 30, 100 and 300 steps with one rate."""
    hparams = {"learning_rate": rate}

    def step(state, rows):
        return plain.step(state, rows, hparams)[0], None

    state, found, rows = plain.init(jax.random.key(0), hparams), [], batches(moments[-1])
    for begin, end in zip([0, *moments], moments, strict=False):
        state, _ = jax.lax.scan(step, state, rows[begin:end])
        found.append(measure(state, part)["loss"])
    return jnp.stack(found)


of_all = jax.jit(lambda every, part: jax.lax.map(lambda rate: of_rate(rate, part), every, batch_size=8))
curves = np.asarray(of_all(rates, SEEN)).T
curves = np.where(np.isfinite(curves), curves, np.inf)

# %% [markdown]
# And the range test beside it, with five seeds. The library's schedule `exponential` multiplies the rate in every
# step; with a factor above 1 it rises.

# %%
ramp = make(functools.partial(schedules.exponential, length=100))
growth = float(rates[-1] / rates[0])


@jax.jit
@jax.vmap
def range_test(seed):
    hparams = {"learning_rate": rates[0], "rate": growth}

    def step(state, rows):
        state, info = ramp.step(state, rows, hparams)
        return state, info.loss

    return jax.lax.scan(step, ramp.init(jax.random.key(seed), hparams), batches(100))[1]


tested = np.asarray(range_test(jnp.arange(5)))
tested_rates = rates[0] * growth ** (np.arange(100) / 100)

_, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
axes[0].plot(tested_rates, tested.T, color="0.65", lw=0.8)
axes[0].plot([], [], color="0.65", label="range test: one batch")
axes[0].plot(rates, curves[2], color="C0", lw=2.2, label="64 rates, 100 steps")
for number, (steps, curve) in enumerate(zip(moments, curves, strict=True)):
    axes[1].plot(
        rates, curve, color=f"C{number}", lw=1.6, marker=MARKERS[number], markevery=6, ms=4, label=f"{steps} steps"
    )
    axes[1].plot(rates[curve.argmin()], curve.min(), marker="*", ms=13, color=f"C{number}", mec="black", zorder=5)
axes[0].set(xscale="log", ylim=(0, 3), xlabel="learning rate", ylabel="mean cross entropy", title="Do they agree?")
axes[1].set(xscale="log", xlabel="learning rate", title="Which rate is best after how many steps? (stars)")
axes[0].legend(fontsize="small", loc="upper center")
axes[1].legend(fontsize="small", loc="lower right")
for ax in axes:
    ax.grid(alpha=0.3)
best = {steps: float(rates[curve.argmin()]) for steps, curve in zip(moments, curves, strict=True)}
lowest = tested_rates[np.where(np.isfinite(tested), tested, np.inf).argmin(1)]
display(
    Markdown(
        f"After 100 steps the best of the 64 rates is {best[100]:.3g}. The range test has its lowest loss, by the "
        f"seed, at {lowest.min():.2g} to {lowest.max():.2g}; a tenth of that is {lowest.min() / 10:.2g} to "
        f"{lowest.max() / 10:.2g}. The best rate after 10 steps is {best[10]:.3g}, after 300 steps {best[300]:.3g}."
    )
)
assert curves[2].min() < 0.7  # it learns within 100 steps
assert lowest.max() > 1.2 * lowest.min()  # one range test is a noisy measurement
assert curves[3].min() < curves[2].min() < curves[1].min()

# %% [markdown]
# Three things to take away. The range test shows where training *breaks*, and that is what it is good for. Its lowest
# point is a matter of the seed, and the rule "divide by ten" is as good as the guess behind it. And no finder can
# know how long you will train: small rates catch up with time, and large ones stop getting better (the "short-horizon
# bias" of Wu et al. 2018). A rate that is best for 100 steps is a good start for a sweep and no more.
#
# ## Schedules
#
# A constant rate ends in a cloud around a minimum (notebook 5). So the rate falls. How it falls is a *schedule*: a
# function of the step by which the rate is multiplied. The library has these, and every number in them can be swept:

# %%
LENGTH = 400
numbers = {
    "constant": {},
    "linear": {"length": LENGTH},
    "polynomial": {"length": LENGTH},
    "exponential": {"rate": 0.3, "length": 100},
    "piecewise": {"boundaries": jnp.array([100.0, 300.0]), "factors": jnp.array([0.5, 0.2])},
    "step_decay": {"every": 133, "rate": 0.2},
    "cosine": {"length": LENGTH},
    "inverse_sqrt": {"warmup": 40},
    "warmup": {"warmup": 80},
    "warmup_linear": {"length": LENGTH, "warmup": 80},
    "warmup_polynomial": {"length": LENGTH, "warmup": 80},
    "warmup_cosine": {"length": LENGTH, "warmup": 80},
    "warmup_stable_decay": {"length": LENGTH, "warmup": 80, "decay": 120},
    "one_cycle": {"length": LENGTH},
    "one_cycle_cosine": {"length": LENGTH},
    "triangular": {"half_cycle": 50, "cycle_factor": 0.7},
    "warm_restarts": {"first_cycle": 57, "t_mult": 2},
}
assert set(numbers) == set(schedules.SCHEDULES)
_, axes = plt.subplots(3, 6, figsize=(10, 4), sharex=True, sharey=True, layout="constrained")
steps = jnp.arange(LENGTH)
for ax, (name, own) in zip(axes.ravel(), numbers.items(), strict=False):
    factor = jax.vmap(schedules.SCHEDULES[name](**own))(steps)
    ax.plot(steps, factor, lw=1.6)
    ax.set_title(name, fontsize="small")
    ax.grid(alpha=0.3)
axes[-1, -1].axis("off")
axes[1, 0].set_ylabel("factor of the rate")
axes[-1, 2].set_xlabel("step")
plt.show()

# %% [markdown]
# **Which one is best?** That question has no answer without its rate: a schedule whose mean factor is a half may want
# a higher rate. So each schedule gets the same six rates. A schedule is a choice, so each is compiled; the
# rates and seeds are its lanes.

# %%
NAMES = ["constant", "step_decay", "inverse_sqrt", "linear", "cosine", "one_cycle"]
COMMON = {"data": dataset, "model": "mlp", "batch_size": 100, "epochs": 10, "objective": "loss"}
total = COMMON["epochs"] * (len(y) // COMMON["batch_size"])
space = Space(
    {"step_decay.every": total // 3, "step_decay.rate": 0.2, "inverse_sqrt.warmup": total // 20},
    learning_rate=log_uniform(0.01, 1.0),
    schedule=choice(NAMES),
    widths=choice([64]),
)
found = sweep(
    Experiment(**COMMON, optimizer="momentum", validate_every=total // 5),
    space.grid({"learning_rate": 6, "step_decay.every": 1, "step_decay.rate": 1, "inverse_sqrt.warmup": 1}),
    replicates=2,
    directory=f"{RUNS.name}/schedules",
)

# %%
end = {}
_, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for number, name in enumerate(NAMES):
    mine = found.isel(trial=found.schedule.values == name)
    for ax, metric in zip(axes, ("train_loss", "valid_loss"), strict=True):
        values = mine[metric].isel(epoch=-1).mean("seed", skipna=False).values
        ax.plot(mine.learning_rate, values, color=f"C{number}", marker=MARKERS[number], ms=5, label=name)
        end[metric, name] = np.where(np.isfinite(values), values, np.inf)
axes[0].set(yscale="log", ylabel="training loss, last fifth of the steps", title="Which schedule learns more?")
axes[1].set(ylim=(0.3, 1.2), ylabel="validation loss at the end", title="And on images that were not seen?")
axes[0].legend(fontsize="small")
for ax in axes:
    ax.set(xscale="log", xlabel="learning rate at its peak")
    ax.grid(alpha=0.3)
best_at = {name: float(found.learning_rate.values[:6][end["valid_loss", name].argmin()]) for name in NAMES}
display(
    Markdown(
        "Lowest validation loss at the end, and the rate: "
        + ", ".join(f"{name} {end['valid_loss', name].min():.3f} at {best_at[name]:.2g}" for name in NAMES)
        + "."
    )
)
falling = [end["valid_loss", name].min() for name in ("linear", "cosine", "step_decay", "one_cycle")]
assert max(falling) < end["valid_loss", "constant"].min()
# At a rate that is too high for a constant one, a rate that falls still ends well.
high = end["valid_loss", "constant"].argmin() + 1
assert all(end["valid_loss", name][high] < end["valid_loss", "constant"][high] for name in ("linear", "cosine"))

# %% [markdown]
# Schedules that end near zero reach a lower loss than a constant rate, and over a wider range: the beginning can be
# bold because the end is careful. Between them the differences are small, and the best of six rates is too coarse a
# measure to rank them. What is *not* small is the mistake of comparing schedules at one common rate where that is high:
# there a constant rate has lost, whatever it would have done at its own.
#
# ## Warm-up
#
# At the start the gradients are large and the surface is steep (notebook 5: above $2 / \mathrm{sharpness}$ a step
# grows in the steepest direction). A rate that is right later can throw the weights far away in the first steps.
# Warm-up lets it rise over the first steps (Goyal et al. 2017, section 2.2); meanwhile training itself moves to where
# the surface is flatter (Gilmer et al. 2022).
#
# **Does it make higher rates usable?** The length of the warm-up and the rate are both numbers, so all of this is a
# single program; `["warmup", "cosine"]` multiplies the two schedules.

# %%
lengths = [0, total // 20, total // 6, total // 3]
space = Space(learning_rate=log_uniform(0.05, 1.0), widths=choice([64]))
asked = [t._replace(hparams={**t.hparams, "warmup": float(length)}) for length in lengths for t in space.grid(8)]
warmed = sweep(
    Experiment(**COMMON, optimizer="momentum", schedule=["warmup", "cosine"], validate_every=total),
    asked,
    replicates=2,
    directory=f"{RUNS.name}/warmup",
)
accuracy = results.grid(warmed).valid_accuracy.isel(epoch=-1).fillna(0.1).mean("seed")
_, ax = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
for number, length in enumerate(lengths):
    line = accuracy.sel(warmup=length)
    ax.plot(line.learning_rate, line, marker=MARKERS[number], ms=5, label=f"{length} of {total} steps")
ax.set(xscale="log", xlabel="learning rate at its peak", ylabel="validation accuracy at the end")
ax.set_title("Does warm-up make higher rates usable?")
ax.legend(title="warm-up", fontsize="small")
ax.grid(alpha=0.3)
good = float(accuracy.max()) - 0.05
usable = {n: float(accuracy.learning_rate[(accuracy.sel(warmup=n) > good).values].max()) for n in lengths}
display(
    Markdown(
        f"The highest rate within five points of the best accuracy ({good + 0.05:.1%}) is {usable[0]:.2g} without "
        f"warm-up and {usable[lengths[-1]]:.2g} with {lengths[-1]} steps of it. The best accuracy is "
        + ", ".join(f"{float(accuracy.sel(warmup=n).max()):.1%} with {n}" for n in lengths)
        + " steps."
    )
)
assert usable[lengths[-1]] >= usable[0]
assert accuracy.sel(warmup=lengths[-1]).mean() > accuracy.sel(warmup=0).mean() + 0.02  # over all rates

# %% [markdown]
# ## Cycles, warm restarts, and snapshot ensembles
#
# A rate can also rise again. Smith 2017 goes to and fro between two bounds (`triangular`); Loshchilov and Hutter 2017
# fall along half a cosine and jump back to the top (`warm_restarts`, SGDR):
#
# $$ \mathrm{factor} = \mathrm{end} + (1 - \mathrm{end}) \, \tfrac12 \Bigl(1 + \cos\bigl(\pi\,
# \tfrac{\text{steps since the restart}}{\text{steps of the cycle}}\bigr)\Bigr). $$
#
# After each fall the network is a finished one. Huang et al. 2017 keep them all: the mean of the probabilities that
# these *snapshots* give is an ensemble for the price of one training.
#
# **Is the ensemble better than its last snapshot, and than one long fall with the same number of steps?** Four seeds
# side by side. `training.snapshots` keeps the state at the end of each cycle, `training.evaluate_ensemble` measures
# them as one model.

# %%
cycles, of_cycle = 5, 80 if not FULL else 1000
restarting, single = make(schedules.warm_restarts), make(schedules.cosine)
rows = batches(cycles * of_cycle)
PEAK = 0.03


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, None))
def with_restarts(seed, part):
    hparams = {"learning_rate": PEAK, "first_cycle": of_cycle}
    begin = restarting.init(jax.random.key(seed), hparams)
    _, states = training.snapshots(restarting, begin, rows, hparams, cycles=cycles)
    alone = jax.vmap(lambda state: measure(state, part))(states)
    together = training.evaluate_ensemble(
        model, states, part, {}, metrics={"accuracy": metrics.accuracy},
        loss=losses.softmax_cross_entropy, prepare=prepare,
    )  # fmt: skip
    return alone, together


def along(made, hparams):
    """Validation loss and accuracy along a training, every 10 steps, for four seeds."""

    def member(seed, part):
        def segment(state, some):
            state = jax.lax.scan(lambda s, r: (made.step(s, r, hparams)[0], None), state, some)[0]
            return state, measure(state, part)

        return jax.lax.scan(segment, made.init(jax.random.key(seed), hparams), rows.reshape(-1, 10, BATCH))[1]

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(member, (0, None)))(jnp.arange(4), VALID))


snapshots, ensemble = jax.tree.map(np.asarray, with_restarts(jnp.arange(4), VALID))
lines = {
    "cosine": along(single, {"learning_rate": PEAK, "length": len(rows)}),
    "warm restarts": along(restarting, {"learning_rate": PEAK, "first_cycle": of_cycle}),
    "triangular": along(make(schedules.triangular), {"learning_rate": PEAK, "half_cycle": of_cycle // 2}),
}
scores = {
    "one cosine": (lines["cosine"]["accuracy"][:, -1], lines["cosine"]["loss"][:, -1]),
    "last snapshot": (snapshots["accuracy"][:, -1], snapshots["loss"][:, -1]),
    "ensemble": (ensemble["accuracy"], ensemble["loss"]),
}

# %%
_, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", width_ratios=[3, 2])
at = np.arange(1, len(rows) // 10 + 1) * 10
for number, (name, curve) in enumerate(lines.items()):
    axes[0].plot(at, curve["loss"].mean(0), "-", color=f"C{number}", lw=1.6, label=name)
ends = np.arange(1, cycles + 1) * of_cycle
axes[0].plot(ends, snapshots["loss"].mean(0), "o", color="C1", mec="black", ms=7, label="snapshots")
axes[0].axhline(ensemble["loss"].mean(), color="black", ls="--", lw=1.2, label="ensemble of the snapshots")
axes[0].set(xlabel="steps", ylabel="validation loss, mean over 4 seeds", ylim=(0.4, 0.9))
axes[0].set_title("Is the ensemble better than its members?", fontsize="medium")
axes[0].legend(fontsize="small", ncols=2)
for number, (own, _) in enumerate(scores.values()):
    axes[1].plot([number] * len(own), own, "o", color="0.5", ms=5)
    axes[1].plot(number, own.mean(), "_", color="black", ms=26, mew=2)
axes[1].set_xticks(range(3), scores)
axes[1].set(ylabel="validation accuracy", xlim=(-0.5, 2.5))
axes[1].set_title("Who is right more often? (dots: seeds; bars: means)", fontsize="medium")
for ax in axes:
    ax.grid(alpha=0.3)
display(
    Markdown(
        "Mean validation accuracy and loss: "
        + "; ".join(f"{name} {right.mean():.1%}, {loss.mean():.3f}" for name, (right, loss) in scores.items())
        + f". The loss of the best snapshot is {snapshots['loss'].mean(0).min():.3f}."
    )
)
assert ensemble["loss"].mean() < snapshots["loss"].mean(0).min(), "better than the best of its members"
assert ensemble["loss"].mean() > lines["cosine"]["loss"][:, -1].mean(), "and no better than one long fall"
assert ensemble["accuracy"].mean() > snapshots["accuracy"][:, -1].mean() - 0.005

# %% [markdown]
# The mean of several probabilities is never worse in cross entropy than the mean of their losses (the logarithm is
# concave), so what is worth measuring is whether the ensemble beats its *best* member and a training without
# restarts. The printed means answer both questions: better than the best snapshot; not better than one long fall, which
# here has the lower loss. How much an ensemble gains depends on how different the snapshots are, and
# that on how far the restart throws them.
#
# ## Annealing the batch size instead
#
# Notebook 5 found that the cloud around a minimum depends on $\mathrm{learning\_rate} / |B|$. So a rate that falls by
# 4 and a batch that grows by 4 should do the same (Smith et al. 2018, *Don't decay the learning rate, increase the
# batch size*): the same curve for the same number of images, but fewer and fewer updates, which many machines can
# share.
#
# **Do the two curves lie on each other?** With a `microbatch` the batch size is a number like any other, and has
# schedules: `{"batch_size": "step_decay"}` with a factor of 4. Steps are then microbatches, in all schedules.

# %%
MICRO, THIRD = 20, (len(y) // 20) * 3
experiment = Experiment(
    data=dataset, model="mlp", optimizer="sgd", batch_size=MICRO, microbatch=MICRO, epochs=9, objective="loss",
    vary_batches=True,
)  # fmt: skip


def annealed(name, schedule, rate):
    number = "learning_rate" if name == "rate" else "batch_size"
    prefix = "schedule" if name == "rate" else "schedule.batch_size"
    space = Space({f"{prefix}.every": THIRD, f"{prefix}.rate": rate}, learning_rate=0.15, widths=choice([64]))
    one = Experiment(**{**vars(experiment), "schedule": {number: schedule}})
    return sweep(one, space.grid(), replicates=4, directory=f"{RUNS.name}/anneal-{name}")


both = {"rate": annealed("rate", "step_decay", 0.25), "batch": annealed("batch", "step_decay", 4.0)}
constant = sweep(
    experiment, Space(learning_rate=0.15, widths=choice([64])).grid(), replicates=4, directory=f"{RUNS.name}/constant"
)

# %%
_, axes = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True, layout="constrained")
per_epoch = len(y) // MICRO
updates = {
    "rate": np.full(9, per_epoch),
    "batch": np.array([per_epoch // 4 ** (epoch // 3) for epoch in range(9)]),
    "constant": np.full(9, per_epoch),
}
looks = {
    "constant": (constant, "C2^:", "constant rate and batch"),
    "rate": (both["rate"], "C1s--", "the rate falls by 4"),
    "batch": (both["batch"], "C0o-", "the batch grows by 4"),
}
for name, (one, look, words) in looks.items():
    loss = one.train_loss.isel(trial=0).transpose("seed", "epoch").values
    axes[0].errorbar(
        one.epoch, loss.mean(0), np.ptp(loss, 0) / 2, fmt=look[2:], color=look[:2], ms=5, capsize=2, label=words
    )
    axes[1].plot(np.cumsum(updates[name]), loss.mean(0), look[2:], color=look[:2], ms=5)
axes[0].set(xlabel="epochs", ylabel="training loss, mean over the epoch", title="Do they lie on each other?")
axes[1].set(xlabel="updates", title="How many updates do they need?")
axes[0].legend(fontsize="small")
for ax in axes:
    ax.grid(alpha=0.3)
final = {name: float(one.train_loss.isel(trial=0, epoch=-1).mean()) for name, (one, *_) in looks.items()}
display(
    Markdown(
        f"Training loss in the last epoch: {final['constant']:.3f} with both constant, {final['rate']:.3f} with the "
        f"rate falling in {updates['rate'].sum()} updates, {final['batch']:.3f} with the batch growing in "
        f"{updates['batch'].sum()} updates."
    )
)
assert abs(final["rate"] - final["batch"]) < 0.2 * (final["constant"] - final["rate"])
assert updates["batch"].sum() < 0.5 * updates["rate"].sum()

# %% [markdown]
# ## Decoupled decay against L2
#
# L2 in the loss adds $\mathrm{weight\_decay} \cdot w$ to the gradient. What comes of it depends on what the optimizer
# does with gradients: gradient descent multiplies it by the rate, so the decay per step is $\mathrm{learning\_rate}
# \cdot \mathrm{weight\_decay}$; Adam also divides it by the size of the gradients, so that weights with large
# gradients hardly decay at all. Loshchilov and Hutter 2019 take the decay out of the gradient (SGDW, AdamW):
#
# $$ w \leftarrow w - \mathrm{learning\_rate} \cdot \mathrm{ratio} - \mathrm{schedule\_factor} \cdot
# \mathrm{weight\_decay} \cdot w. $$
#
# Their claim has two parts: rate and decay can then be tuned one after the other, and Adam generalizes better. For
# plain gradient descent the two rules are one, with $\mathrm{decay}_{\text{decoupled}} = \mathrm{learning\_rate}
# \cdot \mathrm{strength}_{L2}$. On logarithmic scales that turns the picture of one into that of the other by a
# shear: if the good region of one is a box, that of the other is a diagonal, and the best decay as a function of the
# rate has a power that differs by 1.
#
# **Their grid (their figure 2): over rate and decay, which of the two is the box?** One thousand images, so that
# there is something to regularize; 4 methods times 6 rates times 6 decays, all with a cosine schedule.

# %%
scarce = data.load("fashion_mnist" if FULL else "fashion_mnist_small", valid=0.8 if not FULL else 0.1)
METHODS = {
    "SGD": functools.partial(optimizers.sgdw, decay="coupled"),
    "SGDW": functools.partial(optimizers.sgdw, decay="decoupled"),
    "Adam": functools.partial(optimizers.adamw, decay="coupled"),
    "AdamW": functools.partial(optimizers.adamw, decay="decoupled"),
}
RATES = {"SGD": (0.01, 0.3), "SGDW": (0.01, 0.3), "Adam": (1e-3, 3e-2), "AdamW": (1e-3, 3e-2)}
DECAYS = {"SGD": (1e-3, 0.3), "SGDW": (1e-4, 0.1), "Adam": (1e-3, 0.3), "AdamW": (1e-4, 0.1)}
entries = {f"{name}.learning_rate": log_uniform(*RATES[name]) for name in METHODS}
entries |= {f"{name}.weight_decay": log_uniform(*DECAYS[name]) for name in METHODS}
space = Space(entries, optimizer=choice(METHODS), widths=choice([32]))
decayed = sweep(
    Experiment(
        data=scarce, model="mlp", schedule="cosine", batch_size=100, epochs=30, objective="loss",
        validate_every=30 * (len(scarce.train[0]) // 100),
    ),
    space.grid(6),
    directory=f"{RUNS.name}/decay",
)  # fmt: skip

# %%
fits = {}
low = float(decayed.valid_loss.isel(epoch=-1).min())
_, axes = plt.subplots(1, 4, figsize=(10.5, 3.3), layout="constrained")
for ax, name in zip(axes, METHODS, strict=True):
    mine = decayed.isel(trial=decayed.optimizer.values == name)
    loss = np.nan_to_num(mine.valid_loss.isel(epoch=-1, seed=0).values, nan=np.inf).reshape(6, 6)  # rate, decay
    rate, decay = (mine[f"{name}.{n}"].values.reshape(6, 6) for n in ("learning_rate", "weight_decay"))
    colours = ax.pcolormesh(rate[:, 0], decay[0], loss.T, vmin=low, vmax=low + 0.4, cmap="viridis", shading="nearest")
    places = np.argsort(loss.ravel())[:6]
    ax.plot(rate.ravel()[places], decay.ravel()[places], "o", mfc="none", mec="white", ms=8, mew=1.8)
    ax.set(xscale="log", yscale="log", xlabel="learning rate", title=f"{name}: {loss.min():.3f}")
    # Of each rate that trains, its best decay; how that moves with the rate.
    trains = loss.min(1) < loss.min() + 0.1
    at_best = decay[np.arange(6), loss.argmin(1)]
    slope = np.polyfit(np.log(rate[trains, 0]), np.log(at_best[trains]), 1)[0]
    fits[name] = slope, loss.min()
axes[0].set_ylabel("weight decay")
plt.colorbar(colours, ax=axes, extend="max", label="validation loss")
plt.suptitle("Which of the two is the box? (circles: the six best trials; titles: the lowest loss)", fontsize="medium")
plt.show()
display(
    Markdown(
        "The best decay changes with the rate to the power "
        + ", ".join(f"{slope:.2f} ({name})" for name, (slope, _) in fits.items())
        + ". A power of 0 is a box, 1 a rising diagonal, -1 a falling one."
    )
)
assert fits["SGD"][0] + 0.4 < fits["SGDW"][0]
assert fits["Adam"][0] < fits["AdamW"][0]

# %% [markdown]
# The shear is there. But here the box is L2's and the diagonal is that of the decoupled decay; in the paper, residual
# networks with batch normalization trained for 100 epochs and more on CIFAR-10, it is the other way round. Both are
# right. Our small network comes to rest where $\nabla \mathrm{loss} = -\mathrm{strength} \cdot w$, whatever the rate
# was, so the *strength* is what has a best value. Behind a normalization the size of the weights changes nothing but
# the effective rate, so there the *decay per step* has one (van Laarhoven 2017; Zhang et al. 2019). So do not take
# over a rule for tuning the two from another kind of network: sweep both, and look. PyTorch's and optax's `AdamW`
# multiply the decay by the rate (`decay="times_rate"` here): a step then decays in proportion to its rate, as L2 does
# under plain gradient descent.
#
# The four titles compare the best of 36 trials each, on the images that chose them; whether one method *generalizes*
# better takes more seeds and a test split (notebook 11).
#
# ## Exercises
#
# **1.** The range test multiplies the rate by a constant in every step. With how many steps from $10^{-4}$ to 3 is
# the rate doubled in each step? And why does the test see a rate of 1 later than a training at the constant rate of 1
# would?
#
# <details><summary>Solution 1</summary>
#
# $\log_2(3 / 10^{-4})$ steps. Rates just below 1 come first, for only a few steps each: the weights have not moved
# far when the rate arrives, and a divergence needs several steps to show. So the range test tends to be too bold.
#
# ```python
# steps_to_double = np.log2(3.0 / 1e-4)
# factor = schedules.exponential(rate=3.0 / 1e-4, length=steps_to_double)
# assert np.isclose(factor(jnp.array(5.0)) / factor(jnp.array(4.0)), 2.0, rtol=1e-4)
# print(f"{steps_to_double:.1f} steps")
# ```
# </details>
#
# **2.** Without momentum and with a constant rate, L2 and decoupled decay are the same algorithm with another name
# for the number. Which L2 strength gives the decay $d$? Check it with `optimizers.sgdw` for 20 steps, and find out
# whether it still holds with momentum 0.9.
#
# <details><summary>Solution 2</summary>
#
# $d / \mathrm{learning\_rate}$. With momentum it no longer holds: coupled, the decay goes through the velocity.
#
# ```python
# def end_of(momentum, decay, weight_decay):
#     optimizer = optimizers.sgdw(learning_rate=0.1, momentum=momentum, weight_decay=weight_decay, decay=decay)
#     w = jnp.array([1.0, -2.0])
#     state = optimizer.init(w)
#     for _ in range(20):
#         updates, state = optimizer.update(w - jnp.array([3.0, 1.0]), state, w)
#         w = w + updates
#     return w
# assert jnp.allclose(end_of(0.0, "coupled", 0.05 / 0.1), end_of(0.0, "decoupled", 0.05), atol=1e-5)
# assert not jnp.allclose(end_of(0.9, "coupled", 0.05 / 0.1), end_of(0.9, "decoupled", 0.05), atol=1e-2)
# ```
# </details>
#
# **3.** `warm_restarts` with `first_cycle=10` and `t_mult=2`: at which steps does it restart within the first 200?
# Compute them, then look for the jumps.
#
# <details><summary>Solution 3</summary>
#
# After $10$, $10 + 20$, $10 + 20 + 40$, ... steps: $10\,(2^i - 1)$.
#
# ```python
# factor = np.asarray(jax.vmap(schedules.warm_restarts(first_cycle=10, t_mult=2))(jnp.arange(200)))
# jumps = np.flatnonzero(np.diff(factor) > 0.5) + 1
# assert jumps.tolist() == [10 * (2**i - 1) for i in range(1, 5)]
# ```
# </details>
#
# **4.** A schedule of any number: let the *momentum* rise from 0.5 to 0.95 in a straight line while the rate falls,
# by `schedule={"learning_rate": ..., "momentum": ...}`. Is it better than a constant momentum of 0.9 at the same
# rates?
#
# <details><summary>Solution 4</summary>
#
# A schedule is a factor of the number that you give, so the momentum is 0.95, and its factor rises from 0.5 / 0.95 to
# 1: `warmup`, whose `start` is that share. Whether it helps is a matter of the second digit here.
#
# ```python
# rising = {"learning_rate": "cosine", "momentum": "warmup"}
# constant = {"learning_rate": "cosine"}
# one = Space(
#     {"warmup": float(total), "start": 0.5 / 0.95, "momentum": 0.95},
#     learning_rate=log_uniform(0.02, 0.2),
#     widths=choice([64]),
# )
# two = Space(momentum=0.9, learning_rate=log_uniform(0.02, 0.2), widths=choice([64]))
# for name, schedule, space in (("rising", rising, one), ("constant", constant, two)):
#     trained = sweep(
#         Experiment(**COMMON, optimizer="momentum", schedule=schedule),
#         space.grid({n: (4 if n == "learning_rate" else 1) for n in space.numbers}),
#         directory=f"{RUNS.name}/momentum-{name}",
#     )
#     print(name, float(trained.score.min()))
#     assert trained.score.min() < 0.7
# ```
# </details>
