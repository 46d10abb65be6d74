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
# # 4. Regularization
#
# A network with more weights than images can learn its training images by heart. What is done against that is called
# regularization. After this notebook you know
#
# - what each of eight regularizers changes in the training: L2, L1, elastic net, max norm, dropout, batch
#   normalization, stochastic depth and early stopping;
# - how to measure it: a sweep of the strength, training against validation, several seeds;
# - why a penalty makes weights small but not zero, and how a proximal step makes exact zeros;
# - what the elastic net does to the paths of coefficients that the lasso takes away;
# - why the training loss of a network with dropout cannot be compared with its validation loss as it stands.
#
# It follows Yao's lecture *An Introduction to Optimization Methods in Deep Learning* (the part on regularization, after
# CS231n), Goodfellow, Bengio and Courville 2016, chapter 7, and the papers that each section cites.

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
import itertools
import os
import tempfile

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from flax import nnx
from IPython.display import Markdown, display

from jaxopt_intro import (
    Experiment,
    Space,
    Trial,
    choice,
    data,
    load_model,
    log_uniform,
    losses,
    models,
    regularizers,
    results,
    sweep,
    uniform,
)  # fmt: skip

SIZE = os.environ.get("JAXOPT_INTRO_SIZE", "small")  # "full": all images and more trials; minutes to hours on two cores
FULL = SIZE == "full"
plt.style.use("tableau-colorblind10")

# %% [markdown]
# ## The question, and how it is measured
#
# We minimize the mean loss over the training images, plus a penalty,
#
# $$ \frac{1}{n} \sum_{i=1}^{n} \mathrm{loss}\bigl(f(x_i, W),\, y_i\bigr) + \mathrm{strength} \cdot R(W), $$
#
# but what we want is a small loss on images that we have *not* seen. The difference between the two is the
# generalization gap. A regularizer is anything that is meant to make it smaller, whether or not it can be written as a
# penalty $R$.
#
# To see a gap, the training set is small: 1,000 images of Fashion-MNIST (Xiao et al. 2017), for a network with one
# hidden layer of 64 units, which has about 50,000 weights. The other 4,000 images of the embedded training part
# validate, so that a difference of one or two points in accuracy means something.

# %%
if FULL:
    dataset = data.load("fashion_mnist", valid=0.1)
    COMMON = {"data": dataset, "batch_size": 128, "epochs": 30}
else:
    dataset = data.load("fashion_mnist_small", valid=0.8)
    COMMON = {"data": dataset, "batch_size": 100, "epochs": 40, "validate_every": 40}
SEEDS = 3
COMMON |= {"model": "mlp", "optimizer": "momentum", "keep": 100}  # the weights of all trials are kept
RATE = 0.02
RUNS = tempfile.TemporaryDirectory()  # goes away with the notebook; give your runs a folder that stays

(train_x, train_y), (valid_x, valid_y) = dataset.train, dataset.valid
print(f"{len(train_x)} images train, {len(valid_x)} validate")


def trials(name, strengths, **sizes):
    """A trial for each strength of the regularizer, with all else the same; sizes of the model are choices."""
    sizes = sizes or {"widths": 64}
    labels = {name: str(size) for name, size in sizes.items()}
    return [Trial({"learning_rate": RATE, name: float(strength)}, sizes, labels) for strength in strengths]


def run(name, asked, **parts):
    """Trains all trials, each with several seeds, as one compiled program."""
    return sweep(Experiment(**{**COMMON, **parts}), asked, replicates=SEEDS, directory=f"{RUNS.name}/{name}")


# %% [markdown]
# Every section below is one call of `run`: the strengths are the lanes of one compiled program, so eight strengths with
# three seeds each are 24 networks that train side by side. The result is an xarray Dataset with the dimensions trial,
# seed and epoch (an epoch here is the time from one validation to the next).
#
# One decision matters for what we see: we read the **last** validation and not the best. The best epoch of a run
# that overfits lies before it overfits, so whoever reports it has used early stopping without saying so.


# %%
def last(found, name):
    """A metric at the end of training: an array over trials and seeds."""
    return found[name].isel(epoch=-1).values


BEST = {}


def remember(label, strength, losses, accuracies):
    """Notes the best strength of a regularizer, with the validation loss and accuracy of each seed."""
    BEST[label] = {"strength": strength}
    for metric, values in (("loss", losses), ("accuracy", accuracies)):
        BEST[label] |= {f"valid {metric}": np.mean(values), f"{metric} spread": np.std(values, ddof=1)}


def effect(found, name, label, question, clean=None, scale="log"):
    """Draws loss and accuracy against a strength; remembers which strength is best on validation."""
    strengths = found[name].values
    on = strengths > 0
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.7), layout="constrained")
    looks = {"train": ("training", "C1", "s--"), "valid": ("validation", "C0", "o-")}
    for ax, metric in zip(axes, ("loss", "accuracy"), strict=True):
        for split, (words, color, look) in looks.items():
            values = last(found, f"{split}_{metric}")
            middle = values.mean(1)
            spread = np.abs(np.stack([values.min(1), values.max(1)]) - middle)
            style = {"color": color, "ms": 4, "lw": 1.4, "capsize": 2}
            ax.errorbar(strengths[on], middle[on], spread[:, on], fmt=look, label=words, **style)
            if not on.all():
                ax.axhline(middle[~on].item(), color=color, ls=":", lw=1.2, label=f"{words}, without")
        if clean is not None:
            ax.plot(strengths[on], clean[metric][on], "^-.", color="0.35", ms=4, lw=1.2, label="training, noise off")
        ax.set(xscale=scale, xlabel=label, ylabel=metric if metric == "accuracy" else "mean cross entropy")
        ax.set_xticks(strengths[on], [f"{s:.2g}" for s in strengths[on]])
        ax.minorticks_off()
        ax.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize="small")
    figure.suptitle(question)
    best = int(last(found, "valid_loss").mean(1).argmin())
    remember(label, strengths[best], last(found, "valid_loss")[best], last(found, "valid_accuracy")[best])
    return best


# %% [markdown]
# ## L2: every weight pays for its square
#
# $$ R(W) = \tfrac{1}{2} \lVert W \rVert_2^2, \qquad \nabla R = W, \qquad
# W \leftarrow (1 - \mathrm{learning\_rate} \cdot \mathrm{strength})\, W -
# \mathrm{learning\_rate}\, \nabla \mathrm{loss} $$
#
# Each step shrinks all weights by the same share (Hoerl and Kennard 1970; "weight decay" in Krogh and Hertz 1992, the
# same thing for plain gradient descent only: notebook 7 measures the difference). Directions in which the loss is
# nearly flat lose most: along an eigenvector of the Hessian with eigenvalue $h$ the minimum moves to $\frac{h}{h +
# \mathrm{strength}}$ of where it was.
#
# Biases are left out of the penalty, here and in all sections below. Strength 0 is among the trials: it is the network
# without regularization, the dotted lines.
#
# **How strong must L2 be before it helps, and when does it begin to hurt?**

# %%
found = run("l2", trials("l2", [0.0, *np.geomspace(1e-3, 1.0, 7)]), penalty="l2")
best = effect(found, "l2", "L2 strength", "When does L2 help, and when does it hurt?")
plain = found.isel(trial=0)
PLAIN = {f"{s} {m}": float(last(plain, f"{s}_{m}").mean()) for s in ("train", "valid") for m in ("loss", "accuracy")}
display(
    Markdown(
        f"Without regularization the network gets {PLAIN['train accuracy']:.1%} of its training images right and "
        f"{PLAIN['valid accuracy']:.1%} of the others; the losses are {PLAIN['train loss']:.3f} and "
        f"{PLAIN['valid loss']:.3f}. The best of these strengths is {found.l2.values[best]:.3g}: validation loss "
        f"{BEST['L2 strength']['valid loss']:.3f}, accuracy {BEST['L2 strength']['valid accuracy']:.1%}."
    )
)
assert PLAIN["train loss"] < 0.5 * PLAIN["valid loss"]  # it overfits
assert BEST["L2 strength"]["valid loss"] < 0.95 * PLAIN["valid loss"]  # L2 lowers the loss
assert abs(BEST["L2 strength"]["valid accuracy"] - PLAIN["valid accuracy"]) < 0.02  # and leaves the accuracy as it is
assert last(found, "valid_loss").mean(1)[-1] > PLAIN["valid loss"]  # and too much of it hurts

# %% [markdown]
# The two ends have names. On the left the training loss is far below the validation loss: *overfitting*, variance. On
# the right both are high and equal: *underfitting*, bias. The best strength lies where the validation curve is lowest;
# the training curve, which rises all the way, cannot show it. What the penalty mends is the loss, that is, how sure the
# network is of its answers: the accuracy does not rise.
#
# What does L2 do to the curves over time? Without it, the validation loss turns and rises again while the accuracy
# hardly changes: the network becomes more and more sure of its mistakes.

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
steps = found.epoch.values * COMMON.get("validate_every", len(train_x) // COMMON["batch_size"])
for row, style, words in ((0, "C1", "without"), (best, "C0", f"L2 {found.l2.values[best]:.2g}")):
    for split, line in (("train", "--"), ("valid", "-")):
        label = f"{words}, {'training' if split == 'train' else 'validation'}"
        for ax, metric in zip(axes, ("loss", "accuracy"), strict=True):
            ax.plot(steps, found[f"{split}_{metric}"].isel(trial=row).mean("seed"), line, color=style, label=label)
axes[0].set(xlabel="steps", ylabel="mean cross entropy", title="When does the validation loss turn?")
axes[1].set(xlabel="steps", ylabel="accuracy", title="Does the accuracy turn with it?")
for ax in axes:
    ax.grid(alpha=0.3)
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
plt.show()
losses_over_time, accuracies_over_time = (plain[f"valid_{m}"].mean("seed").values for m in ("loss", "accuracy"))
turn = int(losses_over_time.argmin())
print(
    f"without L2 the validation loss is lowest after {steps[turn]} of {steps[-1]} steps; from there to the end it goes "
    f"from {losses_over_time[turn]:.3f} to {losses_over_time[-1]:.3f}, and the validation accuracy from "
    f"{accuracies_over_time[turn]:.1%} to {accuracies_over_time[-1]:.1%}"
)
assert turn < len(steps) - 1
assert losses_over_time[-1] > 1.1 * losses_over_time[turn]  # the loss rises
assert accuracies_over_time[-1] > accuracies_over_time[turn] - 0.01  # and the accuracy does not fall

# %% [markdown]
# ## L1: exact zeros by proximal steps
#
# $$ R(W) = \lVert W \rVert_1 = \sum_j |W_j| $$
#
# L1 charges every weight the same for each unit of length, however small it is, so weights that do not pay for
# themselves go all the way to zero (the lasso, Tibshirani 1996). But gradient descent on the penalty never gets there:
# the gradient is $\pm\mathrm{strength}$ up to the very end, and a step of that length jumps over zero, to and fro. The
# cure is to take the loss's gradient step first, and then to solve for the penalty exactly:
#
# $$ \mathrm{prox}(w) = \arg\min_z \; \mathrm{strength}\,|z| + \frac{(z - w)^2}{2\,\mathrm{step}}
#  = \mathrm{sign}(w)\,\max(|w| - \mathrm{step}\cdot\mathrm{strength},\, 0), $$
#
# *soft thresholding* (Donoho and Johnstone 1994; Beck and Teboulle 2009, section 1). In three lines, beside the
# library's:


# %%
def soft(w, threshold):
    return jnp.sign(w) * jnp.maximum(jnp.abs(w) - threshold, 0.0)


w = jnp.linspace(-1.0, 1.0, 9)
assert jnp.array_equal(soft(w, 0.1 * 3.0), regularizers.proximal.l1(w, 0.1, strength=3.0))
print(soft(w, 0.3))

# %% [markdown]
# **Does the penalty's own gradient make zeros too?** Softmax regression on the same images (a linear classifier, so
# that each weight belongs to one pixel), trained both ways: `penalty="l1"` adds the penalty to the loss,
# `proximal="l1"` takes the proximal step after each update. Both minimize the same sum.

# %%
strengths = np.geomspace(1e-3, 1e-1, 7)
linear = {"model": "linear", "optimizer": "sgd"}
by = {}
for how in ("penalty", "proximal"):
    asked = [Trial({"learning_rate": 0.01, "l1": float(s)}) for s in strengths]
    by[how] = run(f"l1-{how}", asked, **{how: "l1"}, **linear)


def kernels(found, which="last"):
    """The kernels of all trials of a linear model: an array [trial, inputs, classes]."""
    return np.stack(
        [
            load_model(found.attrs["run"], str(trial), which=which).params["dense"]["kernel"]
            for trial in found.trial.values
        ]
    )


zeros = {how: (kernels(one) == 0).mean((1, 2)) for how, one in by.items()}

figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
for how, style in (("penalty", "s--"), ("proximal", "o-")):
    axes[0].plot(strengths, zeros[how], style, ms=5, label=how)
    axes[1].plot(strengths, last(by[how], "valid_accuracy").mean(1), style, ms=5, label=how)
axes[0].set(xscale="log", xlabel="L1 strength", ylabel="share of weights that are 0", title="Who makes exact zeros?")
axes[1].set(xscale="log", xlabel="L1 strength", ylabel="validation accuracy", title="What do the zeros cost?")
axes[0].legend()
for ax in axes:
    ax.grid(alpha=0.3)
cost = last(by["proximal"], "valid_accuracy").mean(1)
sparse = int(np.flatnonzero(cost > cost[0] - 0.05)[-1])  # the strongest that costs less than five points
display(
    Markdown(
        f"By the gradient of the penalty at most {zeros['penalty'].max():.1%} of the weights are exactly 0; by "
        f"proximal steps of the same strengths up to {zeros['proximal'].max():.1%}. At strength "
        f"{strengths[sparse]:.2g}, {zeros['proximal'][sparse]:.0%} of the weights are gone, and the accuracy is "
        f"{cost[sparse]:.1%}, against "
        f"{cost[0]:.1%} at the weakest."
    )
)
assert zeros["penalty"].max() < 0.1 < 0.5 < zeros["proximal"].max()
assert np.abs(last(by["penalty"], "valid_accuracy") - last(by["proximal"], "valid_accuracy")).max() < 0.05

# %% [markdown]
# The right-hand picture shows that both ways find classifiers of the same accuracy, and the left-hand one that only the
# proximal step finds one that can be stored, read and computed without its zeros. Which pixels are left?

# %%
names = dataset.info.class_names
kernel = kernels(by["proximal"])
figure, axes = plt.subplots(2, 5, figsize=(10, 4), layout="constrained")
for row, trial in zip(axes, (0, sparse), strict=True):
    for ax, label in zip(row, (1, 2, 5, 8, 9), strict=True):
        image = kernel[trial, :, label].reshape(28, 28)
        limit = np.abs(image).max()
        shown = np.ma.masked_equal(image, 0.0)
        ax.set_facecolor("0.6")  # white is the middle of the colors: nearly 0
        ax.imshow(shown, cmap="PuOr", vmin=-limit, vmax=limit)
        ax.set(xticks=[], yticks=[], title=f"{names[label]}: {int((image != 0).sum())}")
    row[0].set_ylabel(f"L1 {strengths[trial]:.2g}")
figure.suptitle(
    "Which pixels does each class still look at? (gray: exactly 0; numbers: weights that are not 0)", fontsize="medium"
)
plt.show()

# %% [markdown]
# ## Elastic net: paths of coefficients
#
# Of two pixels that say nearly the same, the lasso keeps one and drops the other, and which one can depend on a few
# images. The elastic net (Zou and Hastie 2005) mixes in some of L2, which prefers to share the weight among them:
#
# $$ R(W) = \mathrm{l1\_ratio}\,\lVert W\rVert_1 + (1 - \mathrm{l1\_ratio})\,\tfrac12\lVert W\rVert_2^2 $$
#
# A *path* is what each coefficient does as the strength grows. The 1,293 digits of 8 by 8 pixels are small enough to
# train on the whole set in each step until nothing moves: 3 mixtures times 16 strengths are 48 lanes of one program,
# with Nesterov's momentum and a proximal step of matching length.

# %%
digits = data.load("digits")
count = 400 if not FULL else 2000
numbers = {"learning_rate": 0.1, "momentum": 0.9}
grid = [
    Trial({**numbers, "strength": float(s), "l1_ratio": ratio})
    for ratio in (1.0, 0.5, 0.02)
    for s in np.geomspace(1e-3, 1.0, 16)
]
paths = sweep(
    Experiment(
        data=digits, model="linear", optimizer="nesterov", proximal="elastic_net", keep=len(grid),
        batch_size=len(digits.train[0]), steps=count, validate_every=count,
    ),
    grid,
    directory=f"{RUNS.name}/paths",
)  # fmt: skip
coefficients = kernels(paths)
figure, axes = plt.subplots(1, 3, figsize=(10, 4), sharey=True, layout="constrained")
nonzero = {}
for ax, ratio in zip(axes, (1.0, 0.5, 0.02), strict=True):
    mine = np.isclose(paths.l1_ratio.values, ratio)
    results.plots.coefficient_paths(paths.strength.values[mine], coefficients[mine][:, :, 8], ax=ax)
    ax.set_title(f"l1_ratio {ratio:g}", fontsize="medium")
    nonzero[ratio] = (coefficients[mine] != 0).mean((1, 2))
for ax in axes[1:]:
    ax.set_ylabel("")
figure.suptitle("How do the 64 weights of the digit 8 leave as the penalty grows?", fontsize="medium")
plt.show()

# %% [markdown]
# With `l1_ratio=1`, the lasso, few coefficients are left early on, and the path of a coefficient can grow while its
# neighbor's goes to zero: they take each other's place. With more of L2 more coefficients stay, each smaller, and move
# together. The upper scale counts those that are not zero.

# %%
middle = {ratio: share[8] for ratio, share in nonzero.items()}
display(
    Markdown(
        "At the ninth of the 16 strengths, the share of weights that are not 0 is "
        + ", ".join(f"{share:.0%} with `l1_ratio={ratio:g}`" for ratio, share in middle.items())
        + "."
    )
)
assert middle[1.0] < middle[0.5] < middle[0.02]
assert all(share[0] > share[-1] for share in nonzero.values())

# %% [markdown]
# ## Max norm: a limit in place of a price
#
# After every update, the weights $w$ that enter a hidden unit are projected onto a ball (Srebro and Shraibman 2005;
# Srivastava et al. 2014, section 5.1):
#
# $$ w \leftarrow w \cdot \min\bigl(1,\ \mathrm{radius} / \lVert w \rVert_2\bigr) $$
#
# Units inside the ball pay nothing at all, and no step, however large the rate, can leave it. A *small* radius is much
# regularization, so the horizontal axis is to be read from right to left.
#
# **Which radius binds, and does the limit help?**

# %%
found = run("max_norm", trials("max_norm.radius", np.geomspace(0.25, 4.0, 7)), after_update="max_norm")
effect(found, "max_norm.radius", "max-norm radius", "Which radius binds, and does the limit help?")
loosest, tightest = last(found, "train_loss").mean(1)[[-1, 0]]
own = BEST["max-norm radius"]
display(
    Markdown(
        f"The training loss is {loosest:.3f} at the widest radius, where the limit hardly binds, and {tightest:.3f} at "
        f"the narrowest. The limit helps: at the best of these radii, {own['strength']:.2g}, the validation loss is "
        f"{own['valid loss']:.3f} in place of {PLAIN['valid loss']:.3f}. The accuracy is {own['valid accuracy']:.1%}, "
        f"without it {PLAIN['valid accuracy']:.1%}."
    )
)
assert own["valid loss"] < 0.95 * PLAIN["valid loss"]
assert found["max_norm.radius"].values.min() < own["strength"] < found["max_norm.radius"].values.max()
assert np.isclose(loosest, PLAIN["train loss"], rtol=0.5)
assert tightest > 2 * loosest

# %% [markdown]
# ## Dropout: noise that units must live with
#
# While training, each hidden activation is set to zero with probability `rate`, anew for every image and step, and
# the others are divided by `1 - rate` so that the mean stays (Srivastava et al. 2014). No unit can rely on
# a particular other one. At validation nothing is dropped.
#
# This makes the reported training loss a different thing: it is that of a network which is handicapped. To compare like
# with like we load the last weights of each member and measure the training images without noise, the gray line.
#
# **Does dropout close the gap?**


# %%
def without_noise(found, name):
    """Loss and accuracy on the training images, the noise off, means over seeds."""
    rows = []
    for trial in found.trial.values:
        outputs = [
            load_model(found.attrs["run"], str(trial), seed=int(seed), which="last").predict(train_x[:5000])
            for seed in found.seed.values
        ]
        labels = train_y[:5000]
        loss = [losses.softmax_cross_entropy(scores, labels).mean() for scores in outputs]
        right = [(np.asarray(scores).argmax(1) == labels).mean() for scores in outputs]
        rows.append((np.mean(loss), np.mean(right)))
    loss, right = np.array(rows).T
    return {"loss": loss, "accuracy": right}


found = run("dropout", trials("dropout", [0.0, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8]))
clean = without_noise(found, "dropout")
best = effect(found, "dropout", "dropout rate", "Does dropout close the gap?", clean, scale="linear")
half = int(np.isclose(found.dropout.values, 0.5).argmax())
noisy, right = last(found, "train_loss").mean(1), last(found, "valid_accuracy").mean(1)
display(
    Markdown(
        f"At rate 0.5 the training loss that the run reports is {noisy[half]:.3f}; of the same weights without noise "
        f"it is {clean['loss'][half]:.3f}. The best rate of these is {found.dropout.values[best]:g}: validation loss "
        f"{BEST['dropout rate']['valid loss']:.3f} against {PLAIN['valid loss']:.3f} without, and accuracy "
        f"{BEST['dropout rate']['valid accuracy']:.1%} against {PLAIN['valid accuracy']:.1%}. The accuracy is highest "
        f"at rate {found.dropout.values[right.argmax()]:g}, with {right.max():.1%}."
    )
)
assert right.argmax() < best  # what is best for the accuracy is milder
assert clean["loss"][half] < 0.8 * noisy[half]
assert BEST["dropout rate"]["valid loss"] < 0.95 * PLAIN["valid loss"]

# %% [markdown]
# ## Batch normalization: larger rates, and noise as a gift
#
# Each activation is normalized by mean and variance of its batch, then scaled and shifted by learned numbers (Ioffe and
# Szegedy 2015, algorithm 1):
#
# $$ y = \mathrm{scale} \cdot \frac{x - \mathrm{mean}}{\sqrt{\mathrm{var} + \mathrm{epsilon}}} + \mathrm{bias} $$
#
# It has no strength to sweep. What it changes first is which learning rates work: a step that scales the weights of a
# layer does not change what comes out of it. So we sweep the rate, with and without, in a network of five narrow
# hidden layers. This is your own Flax module; `models.layers.BatchNorm` keeps running statistics for each member.
#
# **Over how wide a range of rates does the network train?**


# %%
class Deep(nnx.Module):
    def __init__(self, *, normalized: bool, rngs: nnx.Rngs):
        sizes = [784, 64, 64, 64, 64, 64]
        he = nnx.initializers.he_normal()
        self.dense = nnx.List(nnx.Linear(i, o, kernel_init=he, rngs=rngs) for i, o in itertools.pairwise(sizes))
        self.norms = nnx.List(models.layers.BatchNorm(o) for o in sizes[1:]) if normalized else None
        self.output = nnx.Linear(sizes[-1], 10, rngs=rngs)

    def __call__(self, x):
        x = x.reshape(x.shape[0], -1)
        for i, layer in enumerate(self.dense):
            x = layer(x)
            x = nnx.relu(x if self.norms is None else self.norms[i](x))
        return self.output(x)


rates = np.geomspace(1e-2, 10.0, 7)
space = Space(learning_rate=0.1, normalized=choice([False, True]))
asked = [space.trial({"learning_rate": float(r)}, {"normalized": n}) for n in ("False", "True") for r in rates]
found = run("batch_norm", asked, model=Deep, optimizer="sgd")
with_norm = found.normalized.values == "True"
figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained", sharex=True)
usable = {}
for mine, words, style in ((~with_norm, "without", "C1s--"), (with_norm, "batch normalized", "C0o-")):
    for ax, split in zip(axes, ("train", "valid"), strict=True):
        accuracy = np.nan_to_num(last(found, f"{split}_accuracy")[mine], nan=0.1).mean(1)  # diverged: as chance
        ax.plot(rates, accuracy, style[2:], color=style[:2], ms=5, label=words)
        usable[split, words] = accuracy
axes[0].set(xscale="log", xlabel="learning rate", ylabel="accuracy", title="Training")
axes[1].set(xlabel="learning rate", title="Validation")
axes[0].legend()
figure.suptitle("Over how wide a range of rates does the network train?")
for ax in axes:
    ax.grid(alpha=0.3)
top = max(usable["valid", words].max() for words in ("without", "batch normalized"))
wide = {words: int((usable["valid", words] > top - 0.05).sum()) for words in ("without", "batch normalized")}
display(
    Markdown(
        f"Within five points of the best validation accuracy ({top:.1%}) are {wide['batch normalized']} of "
        f"{len(rates)} rates with batch normalization and {wide['without']} without."
    )
)
assert wide["batch normalized"] > wide["without"]

# %% [markdown]
# Is it a regularizer? An image is normalized together with others that change from step to step, so its activations
# are noisy, the more so the smaller the batch. That is a side effect, and it goes away with large batches; its main
# work is the one above. (Santurkar et al. 2018 show that "internal covariate shift", the paper's own explanation, is
# not what it mends: the surface becomes smoother.)

# %% [markdown]
# ## Stochastic depth: dropout of whole layers
#
# In a residual network, $x \leftarrow x + \mathrm{branch}(x)$, a branch can be skipped while training, image by image
# (Huang et al. 2016). The rate grows linearly from the first block to the last, where it is the number that we sweep.
# At rate 1 the last block would never be trained.
#
# **Does it help a residual perceptron of four blocks?** (In the paper the networks have up to 1,202 layers, and the
# time that is saved matters as much as the gap.)

# %%
asked = trials("stochastic_depth", [0.0, 0.1, 0.2, 0.4, 0.6, 0.8], width=64, blocks=4)
found = run("stochastic_depth", asked, model="residual_mlp")
clean = without_noise(found, "stochastic_depth")
question = "Does stochastic depth help a residual perceptron of four blocks?"
effect(found, "stochastic_depth", "stochastic-depth rate", question, clean, scale="linear")
shallow, noisy = last(found, "valid_loss").mean(1), last(found, "train_loss").mean(1)
best = 1 + int(shallow[1:].argmin())
display(
    Markdown(
        f"Without it the validation loss is {shallow[0]:.3f}; the best of the rates above 0, "
        f"{found.stochastic_depth.values[best]:g}, has {shallow[best]:.3f} ({shallow[best] / shallow[0] - 1:+.1%}). "
        f"The seeds of the network without it lie {np.ptp(last(found, 'valid_loss')[0]):.3f} apart."
    )
)
assert noisy[-1] > clean["loss"][-1]  # as with dropout, the reported training loss is that of a handicapped network
assert shallow.min() > 0.8 * shallow[0]  # four blocks are too few for it to do much

# %% [markdown]
# A negative result, and worth having: with four blocks there are few layers to drop, each on every image's path in
# most steps, and the network learns its images by heart all the same. The gains of the paper are of networks with 110
# layers and more, where it also shortens the path that gradients travel. In a sweep that costs a minute one sees at
# once which tool fits.
#
# ## Early stopping: the number of steps as a strength
#
# The validation loss of the network without regularization turned early. So keep the weights of the best validation,
# and stop when it has not improved for `patience` validations in a row (Prechelt 1998; Goodfellow et al. 2016,
# algorithm 7.1). It is the cheapest of all regularizers: its strength, the number of steps, is tried out within a
# single run. For a quadratic loss it does nearly what L2 does, with $1 / (\mathrm{learning\_rate} \cdot
# \mathrm{steps})$ for the strength (Goodfellow et al. 2016, section 7.8).
#
# **How patient must one be?** Patience is a number like any other: one program trains all of them. It is counted in
# validations, and here there is one every few steps: the closer they are, the more a single one tells of noise.

# %%
EVERY = 100 if FULL else 5
stopping = {"stopping": "early_stopping", "objective": "loss", "validate_every": EVERY}
found = run("early", trials("patience", [1, 2, 3, 5, 8, 12, 20]), **stopping)
patience, end = found.patience.values, steps[-1]
kept, taken = found.score.values, np.where(found.stopped_step.values < 0, end, found.stopped_step.values)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for ax, values, words in zip(axes, (kept, taken), ("validation loss of what is kept", "steps trained"), strict=True):
    ax.plot(patience, values, ".", color="0.4", ms=6)
    ax.plot(patience, values.mean(1), "o-", color="C0", ms=5, label="early stopping (points: seeds)")
    ax.set(xlabel=f"patience in validations, one every {EVERY} steps", ylabel=words, xticks=patience)
    ax.grid(alpha=0.3)
axes[0].axhline(PLAIN["valid loss"], color="C1", ls=":", label="trained to the end")
axes[1].axhline(end, color="C1", ls=":", label="trained to the end")
axes[0].set_title("How patient must one be?")
axes[1].set_title("What does patience cost?")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize="small")
plt.show()

# %%
means, at = kept.mean(1), found.best_epoch - 1
best, enough = int(means.argmin()), int(np.flatnonzero(means < 1.01 * means.min())[0])
right = found.valid_accuracy.isel(epoch=at).values  # of the weights that are kept
remember("early stopping, patience", patience[best], kept[best], right[best])
display(
    Markdown(
        f"Who stops at the first validation that is no better (patience {patience[0]:g}) trains for "
        f"{taken[0].mean():.0f} of {end} steps and keeps a validation loss of {means[0]:.3f}: it took noise for the "
        f"turn. A patience of {patience[enough]:g} validations, {patience[enough] * EVERY:g} steps, is enough: "
        f"{means[enough]:.3f} after {taken[enough].mean():.0f} steps, where the end has {PLAIN['valid loss']:.3f}. "
        f"More patience gains {100 * (1 - means.min() / means[enough]):.1f} % and costs steps, "
        f"{taken[-1].mean():.0f} of them with a patience of {patience[-1]:g}."
    )
)
assert means[0] > 1.02 * means[enough]  # too little patience costs
assert enough < len(patience) - 1  # and the most is not needed
assert taken[enough].mean() < taken[-1].mean()
assert means.min() < 0.95 * PLAIN["valid loss"]

# %% [markdown]
# ## Side by side
#
# **Which of them lowers the validation loss most, each at its best strength, and does the accuracy follow?** The
# network with one hidden layer, the same rate and steps; early stopping beside it. (The residual network and the deep
# one are others, so they are left out.)

# %%
compared = {n: b for n, b in BEST.items() if not n.startswith("stochastic")}
order = sorted(compared, key=lambda name: compared[name]["valid loss"], reverse=True)
figure, axes = plt.subplots(1, 2, figsize=(10, 3), sharey=True, layout="constrained")
for ax, metric in zip(axes, ("loss", "accuracy"), strict=True):
    values, spread = ([compared[name][key] for name in order] for key in (f"valid {metric}", f"{metric} spread"))
    ax.errorbar(values, range(len(order)), xerr=spread, fmt="o", color="C0", capsize=3, label="mean and seeds' spread")
    ax.axvline(PLAIN[f"valid {metric}"], color="C1", ls=":", lw=2, label="without")
    ax.grid(alpha=0.3)
    ax.margins(y=0.2)
axes[0].set_yticks(range(len(order)), [f"{name} {compared[name]['strength']:.2g}" for name in order])
axes[0].set(xlabel="validation loss of what is kept", title="Which lowers the loss most?")
axes[1].set(xlabel="validation accuracy of what is kept", title="Does the accuracy follow?")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize="small")
plt.show()
falls = [1 - own["valid loss"] / PLAIN["valid loss"] for own in compared.values()]
gains = [100 * (own["valid accuracy"] - PLAIN["valid accuracy"]) for own in compared.values()]
display(
    Markdown(
        f"The loss falls by {min(falls):.0%} to {max(falls):.0%}; the accuracy changes by {min(gains):+.1f} to "
        f"{max(gains):+.1f} points."
    )
)
assert min(falls) > 0.05
assert max(gains) < 1

# %% [markdown]
# All of them make the network less sure of its mistakes, and at the strength that is best for the loss none makes it
# right more often. So one should decide first which of the two one wants: of dropout, a milder rate was best for the
# accuracy.
#
# The strengths were chosen on the same validation images that the points are measured on, so the points are a little
# too good; with thousands of images and a few strengths that bias is small here. Notebook 11 measures it. What nobody
# should do is to read such points as "method A is better than method B" in general: change the data, the size or the
# number of steps, and the order changes. Regularizers are usually combined, and their strengths depend on each other.
# So they are searched together, at random, with the learning rate; the validation split chooses, and the chosen trial
# alone is measured on the test images.

# %%
together = Space(
    widths=choice([64]),
    learning_rate=log_uniform(0.005, 0.1),
    l2=log_uniform(1e-4, 1e-1),
    dropout=uniform(0.0, 0.7),
    patience=5,
)
found = sweep(
    Experiment(**{**COMMON, "penalty": "l2", "stopping": "early_stopping", "objective": "loss"}),
    together.random(24 if not FULL else 100),
    directory=f"{RUNS.name}/together",
)
chosen = results.best(found)
display(results.table(found, 5))
display(
    Markdown(
        f"The chosen trial has a validation loss of {chosen.score.item():.3f} and, measured once, a test loss of "
        f"{chosen.test_loss.item():.3f} and a test accuracy of {chosen.test_accuracy.item():.1%}."
    )
)
assert chosen.score.item() < 0.9 * PLAIN["valid loss"]
assert chosen.test_loss.item() < PLAIN["valid loss"]

# %% [markdown]
# ## Exercises
#
# **1.** For a quadratic loss $\tfrac12 (w - w^*)^T H (w - w^*)$ show that L2 of strength $s$ moves the minimum, along
# an eigenvector of $H$ with eigenvalue $h$, to $\frac{h}{h + s}$ of $w^*$'s part in it. Check it with a random $H$ of
# 5 by 5.
#
# <details><summary>Solution 1</summary>
#
# The gradient of the sum is $H (w - w^*) + s\,w$, zero at $w = (H + s I)^{-1} H w^*$. In the basis of eigenvectors both
# matrices are diagonal, with $h + s$ and $h$.
#
# ```python
# rng = np.random.default_rng(0)
# factor = rng.normal(size=(5, 5))
# H, target, s = factor @ factor.T, rng.normal(size=5), 0.7
# h, vectors = np.linalg.eigh(H)
# shifted = np.linalg.solve(H + s * np.eye(5), H @ target)
# assert np.allclose(vectors.T @ shifted, h / (h + s) * (vectors.T @ target))
# ```
# </details>
#
# **2.** Dropout on the inputs of a linear regression is, on average, an L2 penalty in which each weight is charged by
# how large its input is (Wager, Wang and Liang 2013). Show that the mean over masks of $(y - \sum_j w_j m_j x_j)^2$,
# where $m_j$ is $0$ with probability `rate`, else $1 / (1 - \mathrm{rate})$, is $(y - w \cdot x)^2 +
# \frac{\mathrm{rate}}{1 - \mathrm{rate}} \sum_j w_j^2 x_j^2$, and check it with the library's `dropout`.
#
# <details><summary>Solution 2</summary>
#
# The mean of $m_j$ is 1, its variance $\frac{1}{1 - \mathrm{rate}} - 1 = \frac{\mathrm{rate}}{1 - \mathrm{rate}}$,
# and the masks are independent: squared mean plus variance.
#
# ```python
# import jax
# x, weights, y, rate = jnp.array([1.0, -2.0, 0.5]), jnp.array([0.3, 0.4, -1.0]), 0.7, 0.4
# keys = jax.random.split(jax.random.key(0), 200_000)
# dropped = jax.vmap(lambda key: regularizers.dropout(x, rate, key=key))(keys)
# squares = jnp.square(y - dropped @ weights)
# expected = (y - x @ weights) ** 2 + rate / (1 - rate) * jnp.sum(weights**2 * x**2)
# assert abs(squares.mean() - expected) < 5 * squares.std() / len(keys) ** 0.5
# ```
# </details>
#
# **3.** The group lasso (Yuan and Lin 2006) charges the *norm* of all weights that enter a unit, so that whole units
# become zero. Train the network with `proximal="group_lasso"` at a few strengths and count the units that are left.
#
# <details><summary>Solution 3</summary>
#
# The proximal step shortens each group, and a group that is shorter than the step's threshold becomes zero; a unit
# whose weights are all zero gives a constant and can be cut out.
#
# ```python
# pruned = run("groups", trials("group_lasso", [1e-3, 1e-2, 3e-2]), proximal="group_lasso", epochs=10)
# left = []
# for trial in pruned.trial.values:
#     kernel = load_model(pruned.attrs["run"], str(trial), which="last").params["hidden"]["0"]["kernel"]
#     left.append(int((np.abs(kernel).sum(0) > 0).sum()))
# print(left, "of 64 units are left")
# assert left[0] > left[-1]
# ```
# </details>
#
# **4.** Give 30 % of the training images a wrong label, once and for all. Which L2 strength is best now, and why does
# it move that way?
#
# <details><summary>Solution 4</summary>
#
# Wrong labels can only be learned by heart, and what is learned from them is wrong for other images. The price of
# learning by heart has risen, so the best strength is at least as large as before.
#
# ```python
# rng = np.random.default_rng(0)
# wrong = rng.random(len(train_y)) < 0.3
# labels = np.where(wrong, (train_y + rng.integers(1, 10, len(train_y))) % 10, train_y).astype(np.int32)
# scale = (dataset.info.mean, dataset.info.std)
# noisy = data.from_arrays((train_x, labels), (valid_x[:1000], valid_y[:1000]), normalize=scale)
# spoiled = run("noisy", trials("l2", np.geomspace(1e-3, 1.0, 7)), penalty="l2", data=noisy)
# clean_best = BEST["L2 strength"]["strength"]
# noisy_best = spoiled.l2.values[last(spoiled, "valid_loss").mean(1).argmin()]
# print(f"best strength {clean_best:.2g} with right labels, {noisy_best:.2g} with wrong ones")
# assert noisy_best > 0.9 * clean_best
# ```
# </details>
