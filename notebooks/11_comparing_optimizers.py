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
# # 11. How to compare optimizers honestly
#
# "Our optimizer reaches 91 %, Adam 90 %" is a sentence about two searches, and says little about two optimizers until
# one knows how many rates each was given, over which range, on how many seeds, and which images chose. You will learn
#
# - how the choice of one learning rate for all decides who wins;
# - what a *tuning budget* is, and to draw the best of $k$ trials instead of the best of all;
# - how much a seed changes, and which differences survive fresh seeds;
# - what the *winner's curse* is, how large, and that validation images are what it costs;
# - how sensitive each method is to its rate;
# - what "sharp" and "flat" minima are, how to measure them after the fact, and why sharpness alone explains little.
#
# It follows Dodge et al. 2019 (*Show your work*), Schneider, Balles and Hennig 2019 (DeepOBS), Schmidt, Schneider and
# Hennig 2021 (*Descending through a crowded valley*), Sivaprasad et al. 2020, Choi et al. 2019, Bouthillier et al.
# 2021; for minima Keskar et al. 2017, Dinh et al. 2017, Cohen et al. 2021; and the lecture's list of methods and its
# remarks on sharp and flat minima (Y. Yao, *An Introduction to Optimization Methods in Deep Learning*; Ruder 2016,
# 2017).

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
import dataclasses
import os
import tempfile

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import scipy.stats
from IPython.display import Markdown, display
from matplotlib.ticker import LogLocator, NullLocator

from jaxopt_intro import (
    Experiment,
    Space,
    choice,
    data,
    finalists,
    load_model,
    log_uniform,
    optimizers,
    replay,
    results,
    sweep,
)
from jaxopt_intro.results.comparing import expected_best
from jaxopt_intro.training import probes

SIZE = os.environ.get("JAXOPT_INTRO_SIZE", "small")  # "full": all images and more trials; minutes to hours on two cores
FULL = SIZE == "full"
plt.style.use("tableau-colorblind10")
FOLDER = tempfile.TemporaryDirectory()  # the runs below are kept here, and are gone with the kernel


def place(name):
    """The directory of a run."""
    return os.path.join(FOLDER.name, name)


# %% [markdown]
# ## Four splits
#
# Training images change the weights, validation images choose among trials and epochs, test images are looked at
# once, by the chosen trial. Here a fourth part is set aside, the *audit* images: they take part in nothing, and are
# there to see what choosing does to a score. (With the test images that would be a second look, and the last honest
# number would be gone.)

# %%
NAME = "fashion_mnist" if FULL else "fashion_mnist_small"
loaded = data.load(NAME, valid=None)
AUDIT, VALID = (5000, 5000) if FULL else (1000, 500)
order = np.random.default_rng(0).permutation(len(loaded.train[1]))
audit, valid, train = (
    tuple(x[np.sort(rows)] for x in loaded.train) for rows in np.split(order, [AUDIT, AUDIT + VALID])
)
dataset = data.from_arrays(train, valid, loaded.test, normalize=(loaded.info.mean, loaded.info.std), name="split")
print("images:", {name: len(part[1]) for name, part in (("train", train), ("valid", valid), ("audit", audit))})

# %% [markdown]
# Four methods of the lecture train one network, 784-32-10, over **one grid of learning rates for all**, evenly spaced
# on a logarithmic scale from $10^{-5}$ to 1: the lower part of DeepOBS' grid. All other numbers keep their defaults.
# Three seeds each.

# %%
METHODS = ["sgd", "momentum", "rmsprop", "adam"]
EPOCHS = 20 if FULL else 6
WIDTH = 10  # the same for all sweeps of this experiment, so that they share their compiled programs
experiment = Experiment(data=dataset, model="mlp", epochs=EPOCHS, keep=1)
space = Space(learning_rate=log_uniform(1e-5, 1.0), optimizer=choice(METHODS), widths=choice([32]))
trials = space.grid(learning_rate=26 if FULL else 21)
found = sweep(experiment, trials, replicates=3, directory=place("methods"), width=WIDTH)
objective = found.attrs["objective"]
results.table(found, k=5)

# %% [markdown]
# ## One learning rate for all
#
# A paper fixes "the learning rate 0.001 for all methods, for a fair comparison". Question: **who wins at which
# rate?**

# %%
fig, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
results.plots.sensitivity(found, "learning_rate", by="optimizer", ax=ax)
ax.set(xlabel="learning rate", ylabel=f"{objective}, mean of 3 seeds", title="Who wins at which learning rate?")
plt.show()

scores = results.grid(found).score.mean("seed", skipna=False)  # optimizer, learning_rate
winners = scores.fillna(0).idxmax("optimizer")
for method in METHODS:
    wins = np.flatnonzero(winners == method)
    neighbours = np.split(winners.learning_rate.values[wins], 1 + np.flatnonzero(np.diff(wins) > 1))
    where = [" to ".join(f"{rate:.1e}" for rate in dict.fromkeys(run[[0, -1]])) for run in neighbours if len(run)]
    print(f"{method:9} wins at {len(wins):2} of {len(winners)} rates: {' and '.join(where) or 'none'}")
assert len(set(winners.values.tolist())) >= 3

# %% [markdown]
# With a rate for all, whoever picks it picks the winner. A learning rate multiplies different things: a gradient in
# SGD, a velocity that sums $1/(1 - \beta)$ gradients in momentum, a direction of length about 1 per element in Adam.
# So every method has to be tuned, and the comparison becomes one of *searches*.
#
# ## Budgets: the best of k
#
# Let $F(v)$ be the share of a method's $n$ trials that score at most $v$. If $k$ trials are drawn at random, the best
# of them is expected to be
#
# $$\mathbb{E}\,[\max] = \sum_v v\,\left(F(v)^k - F(v^-)^k\right)$$
#
# (Dodge et al. 2019). `results.compare` computes this for every label of a choice. Since a formula is easily wrong,
# first the same by simulation.

# %%
own = scores.sel(optimizer="adam").values
rng = np.random.default_rng(0)
for k in (1, 4, 16):
    simulated = rng.choice(own, (20_000, k)).max(axis=1).mean()
    formula = expected_best(own, np.array([k]))[0]
    print(f"best of {k:2} rates of adam: {simulated:.4f} by simulation, {formula:.4f} by the formula")
    assert abs(simulated - formula) < 0.01

# %% [markdown]
# Question: **how many trials does each method need**, if nobody knows anything about good rates (left), and if
# everybody looks where the method's own users look (right: the ranges of `optimizers.METHODS`)?

# %%
ranges = {name: optimizers.METHODS[name].learning_rates for name in METHODS}
inside = [
    ranges[name].low * 0.99 <= rate <= ranges[name].high * 1.01
    for name, rate in zip(found.optimizer.values, found.learning_rate.values, strict=True)
]
compared = {
    "One range for all": results.compare(found, by="optimizer"),
    "Each method's own range": results.compare(found.isel(trial=inside), by="optimizer"),
}
fig, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
for ax, (title, one) in zip(axes, compared.items(), strict=True):
    results.plots.comparison(one, ax=ax)
    ax.set(title=title, xlabel="k: rates tried")
axes[1].set_ylabel("")
plt.show()


def at(one, k):
    """The expected best of each method after k trials."""
    return one.expected.sel(trials=k, method="nearest")


wide, narrow = compared.values()
RATES = scores.sizes["learning_rate"]
first, last = at(wide, 1), at(wide, RATES)
display(
    Markdown(
        f"After 1 rate the methods are {100 * float(first.max() - first.min()):.1f} points apart, after {RATES} rates "
        f"{100 * float(last.max() - last.min()):.1f} points. Looking where its users look is worth, for one rate, "
        + ", ".join(
            f"{100 * float(at(narrow, 1).sel(label=m) - first.sel(label=m)):+.1f} points ({m})" for m in METHODS
        )
        + "."
    )
)
assert last.max() - last.min() < 0.5 * (first.max() - first.min())

# %% [markdown]
# Two conclusions: with enough tuning the methods end close together (*Crowded valley*); and the range searched is part
# of the method (Sivaprasad et al., Choi et al.): a "default that works" is tuning done by others. Say the budget and
# the range, or show the curve.
#
# ## Seeds
#
# DeepOBS' protocol: after the search, the best rate of each method is trained again on **ten fresh seeds**, which the
# search has not seen. A seed decides the initial weights; `vary_batches=True` gives it a batch order of its own too.

# %%
SEEDS = 30 if FULL else 10
chosen = [
    int(found.position[(found.optimizer == m).values][scores.sel(optimizer=m).fillna(0).values.argmax()])
    for m in METHODS
]
fresh = sweep(
    dataclasses.replace(experiment, seed=100, vary_batches=True),
    [trials[i] for i in chosen], SEEDS, place("fresh"), width=WIDTH,
)  # fmt: skip
by_seed = fresh[objective].isel(epoch=-1).assign_coords(trial=METHODS)  # of the last epoch: no epoch was chosen

# %% [markdown]
# Question: **which differences between the tuned methods are larger than those between seeds?** Seeds are paired:
# seed 100 means the same weights and the same batches for every method, so differences are taken seed by seed. The
# intervals hold for all pairs together (Student's $t$, divided by the number of pairs: Bonferroni).

# %%
fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
for row, method in enumerate(METHODS):
    values = by_seed.sel(trial=method).values
    jitter = row + np.linspace(-0.15, 0.15, SEEDS)
    ax.plot(values, jitter, "o", color="C0", ms=4, alpha=0.7, label="a seed" if row == 0 else None)
    error = values.std(ddof=1) / np.sqrt(SEEDS)
    ax.errorbar(
        values.mean(),
        row + 0.32,
        xerr=error,
        fmt="k|",
        ms=9,
        capsize=3,
        label="mean ± standard error" if row == 0 else None,
    )
ax.set_yticks(range(len(METHODS)), METHODS)
ax.set(xlabel=f"{objective} after the last epoch", title=f"Do {SEEDS} fresh seeds tell the tuned methods apart?")
ax.grid(alpha=0.3, axis="x")
ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5))
plt.show()

pairs = [(a, b) for i, a in enumerate(METHODS) for b in METHODS[i + 1 :]]
quantile = scipy.stats.t.ppf(1 - 0.05 / (2 * len(pairs)), SEEDS - 1)
apart = []
for a, b in pairs:
    difference = by_seed.sel(trial=a).values - by_seed.sel(trial=b).values
    half = quantile * difference.std(ddof=1) / np.sqrt(SEEDS)
    if abs(difference.mean()) > half:
        apart.append(f"{a} and {b} ({100 * difference.mean():+.2f} ± {100 * half:.2f} points)")
means, spread = by_seed.mean("seed"), float(by_seed.std("seed", ddof=1).mean())
display(
    Markdown(
        f"The standard deviation between seeds is {100 * spread:.2f} points, the tuned methods' means are "
        f"{100 * float(means.max() - means.min()):.2f} points apart. Of {len(pairs)} pairs these can be told apart: "
        f"{'; '.join(apart) or 'none'}."
    )
)
assert len(apart) < len(pairs) / 2, "most pairs cannot be told apart"

# %% [markdown]
# That a pair "cannot be told apart" does not say that both are equal: it says that so many seeds on so many images do
# not show a difference.
#
# ## The winner's curse
#
# The best of many noisy scores is more often lucky than unlucky: its score overstates what the trial is worth. The
# clearest case is one setting trained on many seeds. For scores that vary normally with standard deviation $\sigma$,
# the best of $k$ lies above the mean by about $\sigma \sqrt{2 \ln k}$ (an upper bound, which is close for large $k$).
# Question: **how much "improvement" does one get by choosing among seeds of one and the same setting?**

# %%
MANY = 40
adam = trials[chosen[METHODS.index("adam")]]
one = sweep(
    dataclasses.replace(experiment, seed=1000, vary_batches=True), [adam], MANY, place("one"), width=WIDTH
)  # fmt: skip
lottery = one[objective].isel(trial=0, epoch=-1).values.astype(float)
ks = np.array([1, 2, 4, 8, 16, 40])
best_of = expected_best(lottery, ks)
deviation = lottery.std(ddof=1)


def audit_accuracy(state, batch, hparams, *, training, evaluate):
    """A probe: the accuracy on the audit images, in ten parts."""
    parts = jax.tree.map(lambda x: jnp.asarray(x).reshape(10, -1, *x.shape[1:]), audit)
    return jax.lax.map(lambda part: evaluate(state, part, hparams)["accuracy"], parts)


again = replay(
    place("one"), one.trial.item(), probes={"audit": audit_accuracy}, every=EPOCHS, data=dataset
)  # fmt: skip
assert again.agrees
seen_later = again.dataset.probe_audit.isel(trial=0, epoch=-1).mean(again.dataset.probe_audit.dims[-1]).values
luckiest = int(lottery.argmax())

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
left.plot(ks, best_of, "o-", color="C0", label="best of k seeds")
left.plot(
    ks, lottery.mean() + deviation * np.sqrt(2 * np.log(ks)), "k--", lw=1, label=r"mean $+\ \sigma\sqrt{2\,\ln k}$"
)
left.axhline(lottery.mean(), color="0.5", lw=1, label="mean")
left.set_xscale("log")
left.set_xticks(ks, ks)
left.set(xlabel="k: seeds of one setting", ylabel=objective, title="What does choosing among seeds bring?")
left.legend(fontsize="small")
right.plot(lottery, seen_later, "o", color="C0", ms=4)
right.plot(
    lottery[luckiest], seen_later[luckiest], "D", color="black", ms=8, mfc="none", mew=2, label="best on validation"
)
right.axvline(lottery.mean(), color="0.5", lw=1)
right.axhline(seen_later.mean(), color="0.5", lw=1)
right.set(
    xlabel="accuracy on the validation images",
    ylabel="accuracy on the audit images",
    title="Is it there on other images?",
)
right.legend(fontsize="small", loc="lower right")
for ax in (left, right):
    ax.grid(alpha=0.3)
plt.show()

display(
    Markdown(
        f"The best of {MANY} seeds is {100 * (lottery.max() - lottery.mean()):.2f} points above the mean of all on the "
        "validation images, though all are one setting. On the audit images it is "
        f"{100 * (seen_later[luckiest] - seen_later.mean()):+.2f} points from the mean. The correlation between both "
        f"accuracies over seeds is {np.corrcoef(lottery, seen_later)[0, 1]:.2f}: about that share of an advantage on "
        "the validation images is the weights', the rest is chance."
    )
)
assert seen_later[luckiest] - seen_later.mean() < lottery.max() - lottery.mean(), "part of the advantage was luck"

# %% [markdown]
# (The audit accuracies were measured afterwards: `replay` trained the members again, to the same bits, with a
# *probe*, any function of the state. So a run can be asked what nobody thought of when it was started.)
#
# The library's answer to the curse is `finalists`: the best trials of a search are trained again on seeds that the
# search did not use, and only then one of them is chosen, and tested.

# %%
final = finalists(place("methods"), k=4, replicates=SEEDS, directory=place("finalists"), data=dataset)
print(final.attrs["words"])
assert final.fell.values[0] > 0, "the search's winner scores less on fresh seeds"

# %% [markdown]
# ## Validation against test
#
# Fresh seeds do not take away what the search learned of the *validation images* themselves. A score on $n$ images
# has a standard error of $\sqrt{p(1-p)/n}$, and a search among $k$ trials picks those whose errors happen to fit.
# Question: **how far above the truth is the score of the chosen trial, for searches of $k$ trials on $n$ images?** To
# see it, all trials are replayed, and measured on ten parts of the audit images. A "search" draws $k$ trials, chooses
# by the mean of some parts, and is told the truth by the others; this is repeated many times.

# %%
alive = found.trial.values[~(found.status.isel(seed=0) == "failed").values]
replayed = replay(
    place("methods"), alive.tolist(), seed=0, probes={"audit": audit_accuracy}, every=EPOCHS, data=dataset
)  # fmt: skip
assert replayed.agrees
parts = replayed.dataset.probe_audit.isel(seed=0, epoch=-1).values  # [trials, 10]


def reported_and_true(k, count, draws=4000):
    """The mean score of the chosen of k trials: on the parts that chose it, and on as many others."""
    rng = np.random.default_rng(k)
    picked = rng.random((draws, len(parts))).argsort(axis=1)[:, :k]
    split = rng.random((draws, 10)).argsort(axis=1)
    scores = [
        np.take_along_axis(parts[picked], s[:, None, :], axis=2).mean(axis=2)
        for s in (split[:, :count], split[:, 10 - count :])
    ]
    best = scores[0].argmax(axis=1)[:, None]
    return [float(np.take_along_axis(s, best, axis=1).mean()) for s in scores]


ks = np.unique(np.geomspace(1, len(parts), 10).astype(int))
each = AUDIT // 10
curves = {each * count: np.array([reported_and_true(k, count) for k in ks]).T for count in (1, 5)}

# %%
fig, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
for ax, (n, (reported, true)) in zip(axes, curves.items(), strict=True):
    ax.plot(ks, reported, "o-", color="C0", label="on the images that chose")
    ax.plot(ks, true, "s--", color="black", label="on other images")
    ax.fill_between(ks, true, reported, color="C0", alpha=0.15)
    ax.set_xscale("log")
    ax.set(xlabel="k: trials of the search", title=f"Chosen on {n} images")
    ax.grid(alpha=0.3)
axes[0].set_ylabel("accuracy of the chosen trial")
fig.suptitle("How far above the truth is the score of the chosen trial?")
axes[0].legend(fontsize="small", loc="lower right")
plt.show()

curse = {n: reported[-1] - true[-1] for n, (reported, true) in curves.items()}
few, more = curse
display(
    Markdown(
        f"The chosen of {ks[-1]} trials is reported {100 * curse[few]:.1f} points too good when {few} images choose, "
        f"and {100 * curse[more]:.1f} points when {more} do; without a choice ($k = 1$) the difference is "
        f"{100 * abs(curves[few][0][0] - curves[few][1][0]):.1f}. The standard errors of single scores are "
        + " and ".join(f"{100 * np.sqrt(true[-1] * (1 - true[-1]) / n):.1f}" for n, (_, true) in curves.items())
        + " points."
    )
)
assert curse[few] > 0.004
assert curse[few] > curse[more]
assert abs(curves[few][0][0] - curves[few][1][0]) < 0.01

# %% [markdown]
# The curse is smaller than the standard error suggests, since all trials see the same images and a hard image is hard
# for all: what is left is what trials get wrong *differently*. And the dashed line still rises: choosing helps, it is
# only the reported number that is too high. So report the test accuracy of the chosen. A protocol that chooses by the
# test images, as DeepOBS' does by definition, reports the solid line, and has to say so.
#
# ## Sensitivity
#
# A method whose best is hard to find is worth less than one which is nearly as good at many rates. A measure: **how
# many decades of learning rates are within two points of the method's best?**

# %%
step = np.log10(scores.learning_rate.values[1] / scores.learning_rate.values[0])
good = scores > scores.max("learning_rate") - 0.02
decades = {m: float(good.sel(optimizer=m).sum()) * step for m in METHODS}
default = {"momentum": 0.01, "rmsprop": 1e-3, "adam": 1e-3, "sgd": 0.01}
print("method     best rate   its score   decades within 2 points   at a usual default")
for m in METHODS:
    own = scores.sel(optimizer=m)
    there = own.sel(learning_rate=default[m], method="nearest").item()
    print(
        f"{m:9} {own.idxmax().item():10.1e} {own.max().item():11.3f} {decades[m]:25.1f} {there:14.3f} at {default[m]:g}"
    )
assert decades["adam"] >= decades["momentum"], "adam is the less sensitive"
assert float(scores.max("learning_rate").max() - scores.max("learning_rate").min()) < 0.05

# %% [markdown]
# ## Sharp and flat minima
#
# Why do minima found by one training generalize better than those found by another? An old answer is *flatness*
# (Hochreiter and Schmidhuber 1997): where the loss is flat, a small shift between training and test loss costs
# little. Keskar et al. 2017 found that large batches end in sharper minima and generalize worse. Sharpness here is
# the largest eigenvalue $\lambda_{\max}$ of the Hessian of the training loss, found with the Lanczos method from
# Hessian-vector products. For gradient descent on a quadratic the rate itself bounds it: where $\lambda_{\max} >
# 2/\alpha$, descent is unstable and leaves. So **a large rate cannot stay in a sharp place.**
#
# The sweep below crosses learning rates with two batch sizes. Nobody measured sharpness while it ran; it is replayed
# with a probe, on the same 1,000 training images for all.

# %%
PASSES = 30 if FULL else 10
minima = Space(learning_rate=log_uniform(0.003, 0.3), batch_size=choice([16, 256]), widths=choice([32]))
plain = Experiment(data=dataset, model="mlp", optimizer="sgd", epochs=PASSES)
ended = sweep(plain, minima.grid(7), directory=place("minima"), width=7)
looked_at = tuple(jnp.asarray(x[:1000]) for x in train)


def sharpness(state, batch, hparams, **functions):
    """The library's probe, on images of our own choice."""
    return probes.sharpness(state, looked_at, hparams, **functions)


measured = replay(
    place("minima"), ended.trial.values.tolist(), probes={"sharpness": sharpness}, every=PASSES, data=dataset
)  # fmt: skip
assert measured.agrees
last = measured.dataset.isel(seed=0, epoch=-1)

# %% [markdown]
# Questions: **does a larger rate end in a flatter place?** (left) and **do flatter places generalize better?**
# (right: the gap between validation and training loss).

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
gap = last.valid_loss - last.train_loss
for size, marker, color in (("16", "o", "C0"), ("256", "s", "black")):
    own = last.isel(trial=(last.batch_size == size).values)
    left.loglog(own.learning_rate, own.probe_sharpness, marker + "-", color=color, label=f"batches of {size}")
    right.semilogx(own.probe_sharpness, gap.sel(trial=own.trial), marker, color=color, label=f"batches of {size}")
rates = np.unique(last.learning_rate)
left.loglog(rates, 2 / rates, "--", color="0.5", label=r"$2/\alpha$")
left.set(
    xlabel=r"learning rate $\alpha$",
    ylabel=r"sharpness $\lambda_{\max}$ at the end",
    title="Does a larger rate end in a flatter place?",
)
right.set(
    xlabel=r"sharpness $\lambda_{\max}$ at the end",
    ylabel="validation loss − training loss",
    title="Do flatter places generalize better?",
)
right.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
right.xaxis.set_major_formatter("{x:g}")
right.xaxis.set_minor_locator(NullLocator())
for ax in (left, right):
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")
plt.show()

by_size = {size: last.isel(trial=(last.batch_size == size).values) for size in ("16", "256")}
sharp = {size: own.probe_sharpness.values for size, own in by_size.items()}
rate_and_sharpness = scipy.stats.spearmanr(by_size["16"].learning_rate, sharp["16"]).statistic
sharpness_and_gap = scipy.stats.spearmanr(last.probe_sharpness, gap).statistic
fit_and_gap = scipy.stats.spearmanr(last.train_loss, gap).statistic
flatter = sharp["16"] < sharp["256"]
from_here = int(np.flatnonzero(~flatter).max(initial=-1)) + 1  # from this rate on, batches of 16 end flatter
peak, too_sharp = int(sharp["256"].argmax()), rates[sharp["256"] > 2 / rates]
display(
    Markdown(
        f"With batches of 16 the rank correlation of rate and sharpness is {rate_and_sharpness:.2f}; with 256 the "
        f"sharpness is largest at a rate of {rates[peak]:.2g}, and above $2/\\alpha$ from {too_sharp[0]:.2g} on. From "
        f"a rate of {rates[from_here]:.2g} on batches of 16 end flatter than those of 256; at the largest rate the "
        f"place is {sharp['256'][-1] / sharp['16'][-1]:.1f} times as sharp with batches of 256. The rank correlation "
        f"of the generalization gap is {sharpness_and_gap:.2f} with the sharpness, and {fit_and_gap:.2f} with the "
        "training loss."
    )
)
assert rate_and_sharpness < -0.9, "with batches of 16 larger rates end flatter"
assert 0 < peak < len(rates) - 1, "with 256 the sharpness rises first, and falls later"
assert flatter[len(rates) // 2 :].all(), "at the larger rates smaller batches end flatter"
assert sharpness_and_gap < 0.5, "flatter places do not have clearly smaller gaps"
assert fit_and_gap < -0.5, "trainings that fit better have the wider gap"

# %% [markdown]
# Left: with batches of 16 larger rates end in flatter places. With 256 the sharpness first rises, as those trainings
# have not come far, and falls from about where $2/\alpha$ crosses it (only about: $2/\alpha$ is for the full batch and
# a quadratic). At the larger rates smaller batches end flatter: their noise is one more reason to leave a sharp place
# (Keskar et al. 2017). Right, the naive story does not hold: if flat places generalized better, the printed correlation
# of sharpness and gap would be clearly positive. Trainings of different rates have come differently far in the same
# number of epochs, and those that fit their training images better have the wider gap: the gap goes with the training
# loss. Whoever compares trainings by sharpness has to compare them at the same training loss.
#
# ### Sharpness is not a property of the function
#
# For a network with relu, $f(x) = \max(0, x W_1 + b_1)\, W_2 + b_2$, and any $a > 0$, the parameters $(a W_1, a b_1,
# W_2 / a, b_2)$ give **the same function**, since $\max(0, a z) = a \max(0, z)$. But the curvature along $W_2$ is
# multiplied by about $a^2$ (Dinh et al. 2017, *Sharp minima can generalize for deep nets*). Question: **how sharp can
# one make a given classifier without changing one of its answers?**

# %%
kept = load_model(place("minima"))
images = jnp.asarray(audit[0])


def rescaled(params, a):
    """The same function with a first layer a times as large."""
    first = jax.tree.map(lambda p: a * p, params["hidden"])
    return {**params, "hidden": first, "output": {**params["output"], "kernel": params["output"]["kernel"] / a}}


@jax.jit
def sharpness_of(params):
    """The sharpness of the kept model with other parameters."""
    state = kept._replace(params=params)
    return probes.sharpness(state, looked_at, {}, training=None, evaluate=kept.assembly.evaluate)


here = float(sharpness_of(kept.params))
for a in (1.0, 4.0, 16.0):
    params = rescaled(kept.params, a)
    outputs = kept._replace(params=params).predict(images)
    change = float(abs(outputs - kept.predict(images)).max())
    right = float((outputs.argmax(axis=1) == audit[1]).mean())
    print(f"a = {a:4g}: sharpness {float(sharpness_of(params)):9.1f}", end=", ")
    print(f"accuracy {right:.4f}, largest change of a score {change:.1e}")
    assert change < 1e-3
assert float(sharpness_of(rescaled(kept.params, 16.0))) > 20 * here

# %% [markdown]
# So sharpness compares trainings of one parameterization, where the rate limits it; it does not explain by itself why
# one *function* generalizes better than another. Measures that are invariant to such rescaling, such as the adaptive
# sharpness of Kwon et al. 2021 (ASAM, in `optimizers.wrappers`), are the answer to this; that flatness *causes*
# generalization remains open.
#
# ## A checklist
#
# 1. Say the range, the budget and the number of seeds of every method; give all the same budget, in trials or seconds.
# 2. Show the best of $k$ trials, not one best.
# 3. Choose on validation images; run finalists on fresh seeds; look at the test images once.
# 4. Give intervals, and say "cannot be told apart" where they contain 0.
# 5. Show sensitivity: a method that few find good rates for is worth less.
# 6. Publish the trials. A run directory holds all of them, failed ones too, and can be asked new questions by replay.
#
# ## Exercises
#
# **1.** Three rates of a method score 0.80, 0.85 and 0.90. Compute by hand the expected best of $k = 2$ random draws
# with replacement, and of $k = 1$.
#
# <details><summary>Solution 1</summary>
#
# For $k = 1$ the mean, 0.85. For $k = 2$ the best is 0.80 with probability $1/9$, at most 0.85 with $4/9$, so 0.85
# with $3/9$, and 0.90 with $5/9$: $0.0889 + 0.2833 + 0.5 = 0.8722$.
#
# ```python
# by_hand = 0.80 / 9 + 0.85 * 3 / 9 + 0.90 * 5 / 9
# print(by_hand, expected_best(np.array([0.80, 0.85, 0.90]), np.array([1, 2])))
# assert abs(expected_best(np.array([0.80, 0.85, 0.90]), np.array([2]))[0] - by_hand) < 1e-12
# ```
# </details>
#
# **2.** Two classifiers have 88 % and 88.5 % of answers right. How many test images are needed until their difference
# is two standard errors, if each is tested on images of its own? And if both see the same images, and disagree in
# being right on 4 % of them?
#
# <details><summary>Solution 2</summary>
#
# Separately the variance of the difference is about $2p(1-p)/n$, so $n = 4 \cdot 2 \cdot 0.88 \cdot 0.12 / 0.005^2
# \approx 34{,}000$. Paired, an image contributes $+1$, $-1$ or 0, with a variance of the share of disagreement,
# $0.04$: $n = 4 \cdot 0.04 / 0.005^2 = 6{,}400$. Pairing is worth a factor of five.
#
# ```python
# apart_, paired = (4 * variance / 0.005**2 for variance in (2 * 0.88 * 0.12, 0.04))
# print(round(apart_), round(paired))
# rng = np.random.default_rng(0)
# draws = rng.choice([1, -1, 0], p=[0.0225, 0.0175, 0.96], size=(2000, 6400)).mean(axis=1)
# assert abs(draws.mean() / draws.std() - 2.0) < 0.2
# ```
# </details>
#
# **3.** Choi et al. 2019: a method that contains another can never lose to it, if all its numbers are tuned. Show
# that Adam contains momentum: with a very large $\epsilon$ and the rate $\alpha\epsilon$ it makes the steps of
# momentum. Which momentum, and with which rate?
#
# <details><summary>Solution 3</summary>
#
# Adam's step is $\alpha \hat m / (\sqrt{\hat v} + \epsilon)$, which tends to $(\alpha/\epsilon)\,\hat m$ for large
# $\epsilon$. $m$ is $(1 - b_1)$ times the velocity of momentum with $\beta = b_1$, and the bias correction tends to
# 1: so momentum with the rate $(1 - b_1)\,\alpha/\epsilon$. A comparison in which only $\alpha$ of Adam is tuned
# cannot find this.
#
# ```python
# def path(optimizer, steps=400):
#     place, state = jnp.array([1.0, -2.0]), optimizer.init(jnp.zeros(2))
#     for _ in range(steps):
#         updates, state = optimizer.update(jnp.array([1.0, 0.1]) * place, state, place)
#         place = place + updates
#     return place
#
#
# eps, rate = 1e6, 0.1
# contained = path(optimizers.adam(learning_rate=rate * eps, b1=0.9, eps=eps))
# plain_momentum = path(optimizers.momentum(learning_rate=0.1 * rate, momentum=0.9))
# print(contained, plain_momentum)
# assert float(abs(contained - plain_momentum).max()) < 0.01
# ```
# </details>
#
# **4.** Twelve trainings may be spent on Adam: 12 rates on one seed, or 6 rates on two seeds each, choosing by their
# mean? Use `found`: draw rates at random, choose with seeds 0 and 1, and judge by seed 2.
#
# <details><summary>Solution 4</summary>
#
# Twelve rates: here the differences between rates are much larger than those between seeds, so a second seed tells
# little that is new. Near the optimum, when only good rates are left, the opposite holds, and that is when
# `finalists` spends seeds.
#
# ```python
# values = found.score.isel(trial=(found.optimizer == "adam").values).fillna(0).values  # [rates, seeds]
# rng, got = np.random.default_rng(0), {"12 rates, 1 seed": [], "6 rates, 2 seeds": []}
# for _ in range(4000):
#     rates_ = rng.permutation(len(values))
#     for (name, judged), (count, seeds) in zip(got.items(), ((12, 1), (6, 2)), strict=True):
#         own = values[rates_[:count]]
#         judged.append(own[own[:, :seeds].mean(axis=1).argmax(), 2])
# print({name: round(float(np.mean(judged)), 4) for name, judged in got.items()})
# assert np.mean(got["12 rates, 1 seed"]) > np.mean(got["6 rates, 2 seeds"])
# ```
# </details>
