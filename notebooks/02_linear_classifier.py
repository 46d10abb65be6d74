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
# # 2. The linear classifier and empirical risk
#
# The smallest model that learns: each class gets one score, a weighted sum of the pixels. You will learn
#
# - how $f(x, W, b) = Wx + b$ answers with a class, and why each row of $W$ is a template;
# - that two old formulas, the nearest mean and linear discriminant analysis, are linear classifiers, too;
# - what *empirical risk* is, how softmax regression and the multiclass support vector machine minimize it, and how far
#   it is from what one wants;
# - what templates are learned, raw and regularized;
# - why a risk is a mean and not a sum: what the learning rate and the penalty have to do with it.
#
# It follows Y. Yao, *An Introduction to Optimization Methods in Deep Learning*, and the lecture on linear
# classification of Stanford's CS231n; for the formulas of the second section Hastie, Tibshirani and Friedman 2009, *The
# Elements of Statistical Learning*, sections 4.3 and 4.3.1; for empirical risk Vapnik 1992, *Principles of risk
# minimization for learning theory*.

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
import optax
from IPython.display import Markdown, display

from jaxopt_intro import (
    Experiment,
    Space,
    choice,
    data,
    load_model,
    log_uniform,
    losses,
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
# ## Ten scores for each image
#
# An image of $28 \times 28$ pixels is a vector $x$ of 784 numbers. A linear classifier has a matrix $W$ with a row
# $w_c$ for each class and a vector $b$ of ten biases; it computes ten scores,
#
# $$ s = f(x, W, b) = W x + b, \qquad s_c = w_c \cdot x + b_c, $$
#
# and answers with the class of the largest. In the library a batch of images is a matrix with an image in each *row*,
# so the same is written `x @ kernel + bias` with `kernel` $= W^\top$. Here the model and the formula stand side by
# side.

# %%
fashion = data.load("fashion_mnist" if FULL else "fashion_mnist_small")
names = fashion.info.class_names


def prepared(images, info):
    """Scaled, centered, and flattened: as a model sees them, a row for each image."""
    x = (np.asarray(images, np.float32) / info.scale - np.array(info.mean)) / np.array(info.std)
    return x.reshape(len(x), -1).astype(np.float32)


x_train, x_valid, x_test = (prepared(part[0], fashion.info) for part in (fashion.train, fashion.valid, fashion.test))
y_train, y_valid, y_test = fashion.train[1], fashion.valid[1], fashion.test[1]

model = models.linear(outputs=10)
params = {"dense": {"kernel": jax.random.normal(jax.random.key(0), (784, 10)), "bias": jnp.arange(10.0)}}
scores, _ = model.apply(params, {}, jnp.asarray(x_test[:5]), train=False, key=None, hparams={})
W, b = np.asarray(params["dense"]["kernel"]).T, np.asarray(params["dense"]["bias"])
np.testing.assert_allclose(scores, x_test[:5] @ W.T + b, rtol=1e-3, atol=1e-3)
display(Markdown(f"A linear classifier of these images has {models.cost(model, x_test[:1]).parameters:,} parameters."))

# %% [markdown]
# The score $w_c \cdot x$ is large where $x$ is bright where $w_c$ is large. So $w_c$ is a *template* that is laid over
# the image: one for each class, and all things of a class have to do with that one. The set where two classes have
# equal scores is a plane, so ten classes share the space of all images among ten regions with flat walls.

# %% [markdown]
# ## Two linear classifiers by formula
#
# **The nearest mean.** Answer with the class whose mean image $\mu_c$ is nearest. Write the square out:
#
# $$ \lVert x - \mu_c \rVert^2 = \lVert x \rVert^2 - 2 \big( \mu_c \cdot x - \tfrac12 \lVert \mu_c \rVert^2 \big). $$
#
# $\lVert x \rVert^2$ is the same for all classes, so the nearest mean is a linear classifier with $w_c = \mu_c$ and
# $b_c = -\tfrac12 \lVert \mu_c \rVert^2$. Its templates are mean images.
#
# **Linear discriminant analysis.** The nearest mean counts all pixels alike and as if they varied independently. If
# instead the images of a class are normally distributed with mean $\mu_c$ and a covariance $\Sigma$ that all classes
# share, then the most probable class is again that of the largest linear score, now with
#
# $$ w_c = \Sigma^{-1} \mu_c, \qquad b_c = -\tfrac12 \mu_c \cdot \Sigma^{-1} \mu_c + \ln \pi_c, $$
#
# where $\pi_c$ is the share of the class ([ESL], equation 4.10). With few images the estimate $S$ of $\Sigma$ cannot be
# inverted reliably, so it is shrunk towards a multiple of the identity,
#
# $$ \Sigma = (1 - \gamma)\, S + \gamma \, \frac{\operatorname{tr} S}{784} I, $$
#
# and at $\gamma = 1$ only the distance to the means is left. How much to shrink? We ask the validation images.


# %%
def nearest_mean(x, y):
    means = np.stack([x[y == c].mean(0) for c in range(10)])
    return means, -0.5 * (means**2).sum(1)


def discriminant(x, y, gamma):
    means, shares = np.stack([x[y == c].mean(0) for c in range(10)]), np.bincount(y) / len(y)
    inside = (x - means[y]).astype(np.float64)
    covariance = inside.T @ inside / (len(x) - 10)
    shrunk = (1 - gamma) * covariance + gamma * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    W = np.linalg.solve(shrunk, means.T).T
    return W, -0.5 * (W * means).sum(1) + np.log(shares)


def accuracy(W, b, x, y):
    return float((np.argmax(x @ W.T + b, axis=1) == y).mean())


W_mean, b_mean = nearest_mean(x_train, y_train)
nearest = np.linalg.norm(x_test[:200, None] - W_mean[None], axis=2).argmin(1)
assert (nearest == np.argmax(x_test[:200] @ W_mean.T + b_mean, axis=1)).mean() > 0.99, "the formula is the nearest mean"

gammas = np.logspace(-4, 0, 9)
by_gamma = [accuracy(*discriminant(x_train, y_train, gamma), x_valid, y_valid) for gamma in gammas]
gamma = gammas[int(np.argmax(by_gamma))]
W_lda, b_lda = discriminant(x_train, y_train, gamma)

figure, ax = plt.subplots(figsize=(5, 2.8), layout="constrained")
ax.semilogx(gammas, by_gamma, "o-", label="linear discriminant")
ax.axhline(accuracy(W_mean, b_mean, x_valid, y_valid), linestyle="--", color="C1", label="nearest mean")
ax.set(xlabel=r"shrinkage $\gamma$", ylabel="validation accuracy", title="How much should the covariance be shrunk?")
ax.legend()
plt.show()

# %%
display(
    Markdown(
        f"The best shrinkage is $\\gamma$ = {gamma:.2g}. Knowing which pixels vary together is worth "
        f"{100 * (max(by_gamma) - accuracy(W_mean, b_mean, x_valid, y_valid)):.0f} points of validation accuracy."
    )
)
assert max(by_gamma) > accuracy(W_mean, b_mean, x_valid, y_valid) + 0.05

# %% [markdown]
# ## Empirical risk
#
# The formulas above assume how images are distributed. The other way is to say what a wrong answer costs, and to choose
# $W$ and $b$ so that it costs little on the images that one has. A *loss* $L(s, y)$ compares the scores of an image
# with its label. What one wants to be small is the *expected risk* $\mathbb{E}\, L(f(x, W, b), y)$ over all images
# there could be; what one can compute is the *empirical risk*, the mean over $N$ images at hand, and one adds a penalty
# $\Omega$ that keeps $W$ small:
#
# $$ R(W, b) = \frac1N \sum_{i=1}^N L(f(x_i, W, b), y_i) + \lambda\, \Omega(W), \qquad
#    \Omega(W) = \tfrac12 \sum_{c,k} W_{ck}^2 . $$
#
# Two losses are usual (notebook 3 takes them apart):
#
# - `losses.softmax_cross_entropy`: $-\ln\big(e^{s_y} / \sum_j e^{s_j}\big)$, softmax regression;
# - `losses.weston_watkins`: $\sum_{j \ne y} \max(0, s_j - s_y + 1)$, the multiclass support vector machine (SVM).
#
# Both risks are convex in $(W, b)$, so there are no local minima: descended far enough, the risk is the same from
# wherever one starts. Which loss, which learning rate and which $\lambda$ (`l2`) is best is one sweep; the validation
# images choose.

# %%
runs = tempfile.TemporaryDirectory()
space = Space(
    loss=choice(["softmax_cross_entropy", "weston_watkins"]),
    learning_rate=log_uniform(1e-4, 1e-1),
    l2=log_uniform(1e-6, 1.0),
)
experiment = Experiment(
    data=fashion, model="linear", optimizer="momentum", schedule="cosine", penalty="l2", epochs=30, keep=1_000
)
found = sweep(experiment, space.grid(learning_rate=7 if FULL else 4, l2=7), directory=f"{runs.name}/linear")
trials = results.top(found, found.sizes["trial"])
display(results.table(found, 5))
chosen = trials.iloc[0]
by_strength = trials[trials.loss == chosen.loss].groupby("l2").valid_accuracy.max()
standard_error = np.sqrt(chosen.valid_accuracy * (1 - chosen.valid_accuracy) / len(y_valid))
as_good = by_strength.index[by_strength > chosen.valid_accuracy - standard_error]
display(
    Markdown(
        f"Each strength at its best rate: from $\\lambda$ = {as_good.min():.1g} to {as_good.max():.1g} the validation "
        f"accuracy of the winning loss is within one standard error of the best ({chosen.valid_accuracy:.3f} ± "
        f"{standard_error:.3f}). These images do not tell so weak penalties apart; their templates look different."
    )
)
assert trials.learning_rate.min() < chosen.learning_rate < trials.learning_rate.max(), "the range of rates is too small"
assert as_good.max() < trials.l2.max(), "the range of strengths is too small"

# %% [markdown]
# The best of each loss beside the two formulas, on the test images. With $n$ test images an accuracy of $p$ has a
# standard error of $\sqrt{p (1 - p) / n}$; the difference of two such numbers has up to $\sqrt 2$ times that, and what
# is less than about two of these says nothing. On the same images a paired comparison (notebook 3) is sharper.


# %%
def weights(trial):
    """W, with a row for each class, and b."""
    dense = load_model(f"{runs.name}/linear", trial=trial).params["dense"]
    return np.asarray(dense["kernel"]).T, np.asarray(dense["bias"])


def best_of(**fixed):
    """The best trial with these values, and its row."""
    chosen = np.logical_and.reduce(
        [np.isclose(trials[k], v) if k == "l2" else trials[k] == v for k, v in fixed.items()]
    )
    return trials[chosen].iloc[0]


softmax, svm = (best_of(loss=name) for name in ("softmax_cross_entropy", "weston_watkins"))
classifiers = {
    "nearest mean": (W_mean, b_mean),
    "linear discriminant": (W_lda, b_lda),
    "softmax": weights(softmax.trial),
    "SVM": weights(svm.trial),
}
rows = []
for name, (W, b) in classifiers.items():
    on_train, p = accuracy(W, b, x_train, y_train), accuracy(W, b, x_test, y_test)
    rows.append(f"| {name} | {on_train:.3f} | {p:.3f} ± {np.sqrt(p * (1 - p) / len(y_test)):.3f} |")
display(Markdown("\n".join(["| classifier | training accuracy | test accuracy |", "|---|---|---|", *rows])))

tested = {name: accuracy(W, b, x_test, y_test) for name, (W, b) in classifiers.items()}
assert min(tested["softmax"], tested["SVM"]) > tested["nearest mean"] + 0.05, "learning beats the nearest mean"
assert abs(tested["softmax"] - tested["SVM"]) < 0.05, "the two losses are about as good"

# %% [markdown]
# ### When does the empirical risk tell the truth?
#
# It is a mean over the very images that $W$ was fitted to, so it is too good, and the more so the fewer they are. We
# minimize the risk of the first $n$ training images for several $n$ and measure it on the test images, too. All $n$ are
# trained at once: an image beyond the first $n$ has weight 0 in `losses.reduction.mean`, so $n$ is a number that `vmap`
# can run over.

# %%
subset = min(len(x_train), 4_500)
x, y = jnp.asarray(x_train[:subset]), jnp.asarray(y_train[:subset])
start = {"kernel": jnp.zeros((784, 10)), "bias": jnp.zeros(10)}


def risk(params, n, strength=1e-3):
    values = losses.softmax_cross_entropy(x @ params["kernel"] + params["bias"], y)
    mean = losses.reduction.mean(values, weights=(jnp.arange(subset) < n).astype(jnp.float32))
    return mean + regularizers.l2(params, strength=strength, factors=trees.kernels(params))


def minimized(n, steps=200):
    optimizer = optimizers.nesterov(learning_rate=0.01, momentum=0.95)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(risk)(params, n), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (start, optimizer.init(start)), length=steps)[0][0]


def loss_on(params, images, labels, n):
    values = losses.softmax_cross_entropy(images @ params["kernel"] + params["bias"], labels)
    return losses.reduction.mean(values, weights=(jnp.arange(len(labels)) < n).astype(jnp.float32))


sizes = jnp.array([50, 150, 500, 1500, 4500])
fitted = jax.jit(jax.vmap(minimized))(sizes)
empirical = jax.vmap(loss_on, (0, None, None, 0))(fitted, x, y, sizes)
expected = jax.vmap(loss_on, (0, None, None, None))(fitted, jnp.asarray(x_test), jnp.asarray(y_test), len(y_test))

figure, ax = plt.subplots(figsize=(5, 2.8), layout="constrained")
ax.semilogx(sizes, expected, "s--", color="C1", label="test images")
ax.semilogx(sizes, empirical, "o-", color="C0", label="the $n$ training images")
ax.set(xlabel="$n$, images that were fitted", ylabel="mean softmax loss", title="How far is the empirical risk off?")
ax.set_ylim(bottom=0)
ax.legend()
plt.show()

gap = np.asarray(expected - empirical)
display(
    Markdown(
        f"With {sizes[0]} images the risk on test images is {gap[0]:.2f} above the empirical one; with {sizes[-1]:,} "
        f"it is {gap[-1]:.2f}. They meet from two sides: more images are harder to fit, and fitting them helps more."
    )
)
assert gap[0] > 2 * gap[-1] > 0
assert empirical[0] < empirical[-1]
assert expected[-1] < expected[0]

# %% [markdown]
# ## What templates are learned
#
# Each row below holds the ten templates of one classifier, drawn as images: bright where a pixel speaks for the class,
# dark where it speaks against it, gray where it does not matter.

# %%
strengths = sorted(trials.l2.unique())
shown = {"nearest mean": (W_mean, b_mean), f"LDA, $\\gamma$ = {gamma:.2g}": (W_lda, b_lda)}
learned = {}
for strength in (strengths[0], strengths[-2], strengths[-1]):
    learned[strength] = weights(best_of(loss="softmax_cross_entropy", l2=strength).trial)
    shown[f"softmax, $\\lambda$ = {strength:g}"] = learned[strength]


def draw_templates(shown, shape, info, title):
    size = (9.5, 0.85 * len(shown) + 0.7)
    figure, axes = plt.subplots(len(shown), 10, figsize=size, layout="constrained", squeeze=False)
    for row, (label, W) in zip(axes, shown.items(), strict=True):
        W = W - W.mean(0)  # what all classes have in common decides nothing
        for c, ax in enumerate(row):
            template = W[c] / np.abs(W[c]).max() / 2 + 0.5
            ax.imshow(template.reshape(shape), cmap="gray", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
        row[0].set_ylabel(label, rotation=0, ha="right", va="center")
    for ax, name in zip(axes[0], info.class_names, strict=True):
        ax.set_title(name, fontsize=9)
    figure.suptitle(title)
    plt.show()


question = "Which pixels speak for each class?"
draw_templates({label: W for label, (W, b) in shown.items()}, (28, 28), fashion.info, question)

# %% [markdown]
# A number for what the eye sees: how much neighboring weights differ, relative to how large the weights are,
#
# $$ \text{roughness}(W) = \sum_c \sum_{\text{neighbors } k, l} (W_{ck} - W_{cl})^2 \Big/ \sum_{c,k} W_{ck}^2, $$
#
# where $W$ is taken without its mean over the classes, as in the picture. It is 0 for constant images and about 4 for
# independent noise. The norm, likewise without that mean, says how large the weights are.


# %%
def roughness(W):
    images = (W - W.mean(0)).reshape(10, 28, 28)
    return sum(float((np.diff(images, axis=axis) ** 2).sum()) for axis in (1, 2)) / float((images**2).sum())


def likeness(W):
    """The cosine between templates and mean images, both without what all classes have in common."""
    a, b = W - W.mean(0), W_mean - W_mean.mean(0)
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


def opposite(W):
    """The share of neighbors whose weights have opposite signs."""
    images = (W - W.mean(0)).reshape(10, 28, 28)
    pairs = (images[:, 1:] * images[:, :-1], images[:, :, 1:] * images[:, :, :-1])
    return float(np.mean([(products < 0).mean() for products in pairs]))


def norm(W):
    return float(np.linalg.norm(W - W.mean(0)))


rows = [
    f"| {label} | {norm(W):.2g} | {roughness(W):.2f} | {likeness(W):.2f} | {accuracy(W, b, x_train, y_train):.3f} "
    f"| {accuracy(W, b, x_test, y_test):.3f} |"
    for label, (W, b) in shown.items()
]
header = [
    "| classifier | norm | roughness | likeness to the means | training accuracy | test accuracy |",
    "|---|---|---|---|---|---|",
]
display(Markdown("\n".join([*header, *rows])))
(raw, raw_b), (smooth, smooth_b) = learned[strengths[0]], learned[strengths[-1]]
still, moving = x_train.std(0) < 0.05, x_train.std(0) > 0.5
spread = {pixels: raw[:, own].std(1).mean() for pixels, own in (("still", still), ("moving", moving))}
centered = (x_train - x_train.mean(0)).reshape(-1, 28, 28)
step = np.diff(centered, axis=2).std() / centered.std()
display(
    Markdown(
        f"The step from a pixel to the next is {step:.2f} of what a pixel changes from image to image. The weights of "
        f"neighbors have opposite signs in {opposite(raw):.0%} of all pairs with the weakest penalty, and in "
        f"{opposite(smooth):.0%} with the strongest. The raw weights of a class spread by {spread['moving']:.1e} over "
        f"pixels that vary, and by {spread['still']:.1e} over the {still.sum()} pixels that hardly do."
    )
)
assert step < 0.8, "the claim: neighboring pixels are alike"
assert opposite(raw) > 1.5 * opposite(smooth), "the claim: raw weights change sign from pixel to pixel"
assert spread["still"] < spread["moving"] / 5, "the claim: where nothing varies all weights of a class are equal"
assert np.corrcoef(raw[:, still].mean(1), raw_b)[0, 1] < -0.9, "the claim: each is a share of the bias"
assert norm(raw) > 2 * norm(smooth), "the claim: without a penalty weights are large"
assert accuracy(smooth, smooth_b, x_test, y_test) < accuracy(raw, raw_b, x_test, y_test) - 0.02, "smooth is not better"
assert roughness(smooth) < roughness(raw) / 2, "the claim: a strong penalty makes smooth templates"
assert likeness(smooth) > likeness(raw) + 0.2, "the claim: and brings them near the mean images"

# %% [markdown]
# Raw templates are noisy: neighboring pixels are alike, so fitting the last training images by their differences takes
# large weights, which change sign from one pixel to the next more often. (In the corners, where hardly anything varies,
# a pixel is a constant, negative since the background is dark: all such pixels get nearly the same weight, a share of
# the class's bias, and the template is smooth.) The penalty makes large weights dear. What is left with a
# strong one are the directions in which classes differ most, and they are smooth. With $\lambda$ too large the
# templates come near the mean images (minus their mean over classes), and the accuracy falls: to make sense of a
# template is not the same as to classify well.

# %% [markdown]
# ### Templates in color
#
# With CIFAR-10 the same classifier learns templates of $32 \times 32 \times 3$ pixels. One template has to stand for
# thousands of images, and here one can see how little that is for photographs.

# %%
try:
    cifar = data.load("cifar10", download=FULL)
except data.DataUnavailable:
    cifar = None
    print("CIFAR-10 is not here; `jaxopt-intro data prepare cifar10` fetches it.")

if cifar is not None:
    experiment = Experiment(data=cifar, model="linear", optimizer="momentum", schedule="cosine", penalty="l2", epochs=4)
    space = Space(learning_rate=log_uniform(3e-4, 3e-2), l2=log_uniform(1e-3, 1.0))
    found_cifar = sweep(experiment, space.grid(learning_rate=3, l2=4), directory=f"{runs.name}/cifar")
    best = load_model(f"{runs.name}/cifar")
    right = best.predict(cifar.test[0]).argmax(1) == cifar.test[1]
    ranked = results.top(found_cifar, found_cifar.sizes["trial"])
    strong = load_model(f"{runs.name}/cifar", trial=ranked[ranked.l2 == ranked.l2.max()].trial.iloc[0])
    rows = {"best": best, "strong penalty": strong}
    templates = {label: np.asarray(one.params["dense"]["kernel"]).T for label, one in rows.items()}
    draw_templates(templates, (32, 32, 3), cifar.info, "Which colors, and where, speak for each class?")
    by_strength = ranked.groupby("l2").valid_accuracy.max()
    display(
        Markdown(
            f"The best has $\\lambda$ = {float(best.hparams['l2']):.2g} and the test accuracy {right.mean():.3f}, "
            f"where guessing has 0.1; the other has $\\lambda$ = {float(strong.hparams['l2']):.2g}. The validation "
            f"accuracy of each strength, at its best rate: "
            + ", ".join(f"{value:.3f} ($\\lambda$ = {strength:.1g})" for strength, value in by_strength.items())
            + "."
        )
    )
    assert right.mean() > 0.3
    assert ranked.learning_rate.min() < ranked.learning_rate.iloc[0] < ranked.learning_rate.max(), "no rate at an end"
    assert ranked.l2.iloc[0] < ranked.l2.max(), "no strength at the upper end"

# %% [markdown]
# ## A mean and not a sum
#
# Some texts write the risk as a sum over examples, $R_\Sigma = \sum_i L_i + \lambda_\Sigma\, \Omega$. That is $N$ times
# the mean with $\lambda = \lambda_\Sigma / N$, so the two have the same minimum if one changes $\lambda$, and gradient
# descent takes the same path if one also divides the learning rate $\eta$ by $N$:
#
# $$ W - \frac{\eta}{N} \nabla R_\Sigma = W - \eta \nabla R \quad \text{for } \lambda_\Sigma = N \lambda . $$
#
# `losses.reduction` has both. We check the identity, and then see what it means for whoever tunes $\eta$.

# %%
x, y = jnp.asarray(x_train[:1_500]), jnp.asarray(y_train[:1_500])


def descended(learning_rate, n, reduce, strength, steps=40):
    """Gradient descent on the first n images; returns the parameters and the value of what was descended."""
    counted = (jnp.arange(len(y)) < n).astype(jnp.float32)

    def objective(params):
        values = losses.softmax_cross_entropy(x @ params["kernel"] + params["bias"], y)
        penalty = regularizers.l2(params, strength=strength, factors=trees.kernels(params))
        return reduce(values, weights=counted) + penalty

    def step(params, _):
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, jax.grad(objective)(params)), None

    params = jax.lax.scan(step, start, length=steps)[0]
    return params, objective(params)


mean, total = losses.reduction.mean, losses.reduction.sum
by_mean, _ = jax.jit(lambda: descended(1e-2, 1_500, mean, 1e-2))()
by_sum, _ = jax.jit(lambda: descended(1e-2 / 1_500, 1_500, total, 1e-2 * 1_500))()
np.testing.assert_allclose(by_mean["kernel"], by_sum["kernel"], atol=1e-4)

rates, counts, strength = jnp.logspace(-6, 0, 19), jnp.array([15, 150, 1500]), 0.1
figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
best_rate = {}
reached = {
    "mean": lambda rate, n: descended(rate, n, mean, strength)[1],
    "sum": lambda rate, n: descended(rate, n, total, strength * n)[1] / n,
}
for ax, (label, function) in zip(axes, reached.items(), strict=True):
    risks = np.asarray(jax.jit(jax.vmap(jax.vmap(function, (0, None)), (None, 0)))(rates, counts))
    best_rate[label] = rates[np.nanargmin(risks, axis=1)]
    for n, own, style in zip(counts, risks, ("o-", "s--", "^:"), strict=True):
        ax.semilogx(rates, own, style, label=f"{n} images", markersize=4)
    ax.set(xlabel=r"learning rate $\eta$", title=f"Descending the {label}", ylim=(0, 4))
axes[0].set_ylabel(r"risk $R$ after 40 steps")
axes[0].legend()
figure.suptitle("Does a learning rate that suits few images suit many?")
plt.show()

# %%
moves = {label: float(jnp.max(best) / jnp.min(best)) for label, best in best_rate.items()}
display(
    Markdown(
        f"From {counts[0]} to {counts[-1]} images the best learning rate changes by a factor of {moves['mean']:.0f} "
        f"where the risk is a mean, and of {moves['sum']:.0f} where it is a sum."
    )
)
assert moves["sum"] > 5 * moves["mean"], "the claim: with a sum, the rate must follow the number of images"

# %% [markdown]
# Where the risk is a mean, a rate and a strength that were found on few images, or with one batch size, are a good
# start for others; on the right the best rate falls as the images grow in number. That is why `make_training` and
# `sweep` take the mean. Two texts that call different numbers "the best weight decay" often differ in no more than
# this, or in the $\tfrac12$ in front of the penalty, which CS231n leaves out.

# %% [markdown]
# ## Exercises
#
# **1.** Add one and the same vector to all ten templates. What happens to the answers, to the softmax loss, and to the
# penalty? What follows for the sum of the ten templates at the minimum of the risk?
#
# <details><summary>Solution 1</summary>
#
# All ten scores of an image change by the same amount, so answers and loss stay, and only the penalty changes. It is
# smallest where the templates sum to zero, so they do at the minimum. (Gradient descent from zero keeps the sum at zero
# even without a penalty: the derivatives of the loss by the ten scores sum to zero.)
#
# ```python
# W, b = classifiers["softmax"]
# other = W + np.random.default_rng(0).normal(size=784).astype(np.float32)
# assert (np.argmax(x_test @ W.T + b, 1) == np.argmax(x_test @ other.T + b, 1)).mean() > 0.99
# print(np.abs(W.sum(0)).max() / np.abs(W).max())
# assert np.abs(W.sum(0)).max() < 1e-2 * np.abs(W).max()
# ```
# </details>
#
# **2.** The bias can be hidden in the matrix: append a 1 to each image and the column $b$ to $W$. Check it. What would
# change in the risk?
#
# <details><summary>Solution 2</summary>
#
# The scores are the same. The penalty would now count the biases too, unless one leaves them out; the library leaves
# them out by default (`trees.kernels`).
#
# ```python
# with_one, with_b = np.c_[x_test, np.ones(len(x_test))], np.c_[W, b]
# np.testing.assert_allclose(with_one @ with_b.T, x_test @ W.T + b, atol=1e-3)
# ```
# </details>
#
# **3.** Give 300 training images random labels. What training accuracy does the linear classifier reach, and what test
# accuracy? Which number in this notebook says that it can? (After Zhang et al. 2017, arXiv:1611.03530.)
#
# <details><summary>Solution 3</summary>
#
# It fits all of them: 300 images in 784 dimensions are (almost surely) linearly independent, so each can be given any
# scores. The empirical risk is near 0, and the classifier has learned nothing.
#
# ```python
# y = jnp.asarray(np.random.default_rng(0).integers(0, 10, subset))
# x = jnp.asarray(x_train[:subset])
# fit = jax.jit(lambda: minimized(300, steps=1_000))()
# answers = [np.argmax(part @ fit["kernel"] + fit["bias"], 1) for part in (x[:300], x_test)]
# print("training", (answers[0] == y[:300]).mean(), "test", (answers[1] == y_test).mean())
# assert (answers[0] == y[:300]).mean() > 0.95
# assert (answers[1] == y_test).mean() < 0.3
# ```
# </details>
#
# **4.** Show that linear discriminant analysis with $\gamma = 1$ is the nearest mean, up to the shares of the classes.
# By what factor do its templates differ?
#
# <details><summary>Solution 4</summary>
#
# At $\gamma = 1$ the covariance is $v I$ with $v = \operatorname{tr} S / 784$, so templates and biases are those of the
# nearest mean divided by $v$, and $\ln \pi_c$ comes on top.
#
# ```python
# W, b = discriminant(x_train, y_train, 1.0)
# v = float((W_mean / W).mean())
# np.testing.assert_allclose(W * v, W_mean, rtol=1e-3)
# agree = (np.argmax(x_test @ W.T + b, 1) == np.argmax(x_test @ W_mean.T + b_mean, 1)).mean()
# print(f"factor {v:.2f}; the same answer for {agree:.1%} of the test images")
# assert agree > 0.99
# ```
# </details>
