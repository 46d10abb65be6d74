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
# # 10. Many workers
#
# What you will learn:
#
# - why a gradient that comes late forces a smaller learning rate, by exactly how much on a parabola, and why momentum
#   makes it worse;
# - what a delay costs in accuracy when the rate is tuned for it, and when it is not;
# - how rarely workers may talk to each other: local SGD and elastic averaging;
# - what it means to train without locks, as Hogwild! does.
#
# It follows Ruder 2016, *An overview of gradient descent optimization algorithms*, section 5 (Hogwild!, Downpour SGD,
# delay-tolerant algorithms, elastic averaging), and the papers that each section cites.
#
# Nothing here runs on several machines. What is simulated is the *order* of reads and writes, inside one compiled
# program, so that the cost of a delay or of silence can be swept like a learning rate. What it cannot tell is the
# speed.

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

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

from jaxopt_intro import Experiment, Trial, data, losses, make_training, models, optimizers, results, sweep
from jaxopt_intro.training import workers

SIZE = os.environ.get("JAXOPT_INTRO_SIZE", "small")  # "full": all images and more trials; minutes to hours on two cores
FULL = SIZE == "full"
plt.style.use("tableau-colorblind10")
jax.config.update("jax_default_matmul_precision", "highest")  # equalities are checked, also on GPUs that round products

# %% [markdown]
# ## A late gradient
#
# In Downpour SGD (Dean et al. 2012, section 4.1) a server holds the parameters; each worker fetches them, computes a
# gradient and sends it back. By then the others have changed the parameters. With $\tau + 1$ workers in turn, every
# gradient is $\tau$ updates old (Langford, Smola and Zinkevich 2009, algorithm 1):
# $$\theta_{t+1} = \theta_t - \eta\, \nabla f(\theta_{t-\tau}).$$
# On a parabola of curvature $\lambda$ that is a linear recurrence. Its solutions shrink exactly if
# $$\eta\,\lambda < 2 \sin\frac{\pi}{2\,(2\tau + 1)},$$
# which is the familiar $2$ at $\tau = 0$ and about $\pi / (2\tau)$ for long delays: twice the delay, half the rate.
# (The bound is where a root of $z^{\tau+1} - z^\tau + \eta\lambda$ leaves the unit circle; exercise 1 computes the
# roots.)
#
# `workers.delayed` takes a training and makes it late; its delay may be traced, so all delays and rates below are one
# call. The parabola is a linear model that sees the input 0 and learns its bias. How large may the rate be?


# %%
LONGEST, STEPS = 16, 2000
parabola = jnp.zeros((1, 1)), jnp.ones((1, 1))  # half the squared error of a bias: the curvature is 1
delays = np.array([0, 1, 2, 3, 4, 6, 8, 12, 16])
rates = np.geomspace(0.001, 5.0, 241)


def distances(name):
    """How far from the lowest point a delayed training ends that starts at distance 1: `[delay, rate]`."""
    alone = make_training(
        models.linear(outputs=1), losses.half_squared, optimizers.METHODS[name].make, example=parabola
    )

    def after(rate, delay):
        late, hparams = workers.delayed(alone, delay=delay, longest=LONGEST), {"learning_rate": rate}
        start = late.init(jax.random.key(0), hparams)
        end, _ = jax.lax.scan(lambda state, _: late.step(state, parabola, hparams), start, length=STEPS)
        return jnp.abs(end.params["dense"]["bias"][0] - 1.0)

    return jax.jit(jax.vmap(jax.vmap(after, (0, None)), (None, 0)))(rates, delays)


def largest_stable(name):
    """For each delay the largest rate that has come nearer, as have all smaller ones."""
    stable = np.cumprod(np.asarray(distances(name)) < 1.0, axis=1).sum(axis=1)
    return rates[stable - 1]


stable = {name: largest_stable(name) for name in ["sgd", "momentum"]}
bound = 2 * np.sin(np.pi / (4 * delays + 2))

figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.plot(delays, bound, "-", color="black", label=r"$2\,\sin(\pi\,/\,(4\tau + 2))$")
ax.plot(delays, stable["sgd"], "o", label="sgd, measured")
ax.plot(delays, stable["momentum"], "s--", label="momentum 0.9, measured")
ax.set(yscale="log", xlabel=r"delay $\tau$ (updates)", ylabel=r"largest stable $\eta\,\lambda$")
ax.set_title("How large may the learning rate be?", fontsize="medium")
ax.legend(frameon=False)
plt.show()

error = float(np.max(np.abs(stable["sgd"] / bound - 1)))
print(f"sgd's measured limits are within {error:.1%} of the formula; rates are {rates[1] / rates[0] - 1:.1%} apart.")
print(f"At delay {delays[-1]} sgd's limit is {stable['sgd'][-1]:.3f}, that of momentum {stable['momentum'][-1]:.4f}.")
assert error < 0.06, "the bound of delayed gradient descent"
assert stable["momentum"][0] > stable["sgd"][0], "without a delay momentum allows more"
assert stable["momentum"][-1] < stable["sgd"][-1] / 5, "with one far less"

# %% [markdown]
# Without a delay momentum allows a *larger* rate than gradient descent: $2 (1 + \gamma)$. With one it allows about
# $1 - \gamma$ times the rate, since each late gradient goes on acting for $1/(1-\gamma)$ steps. Asynchrony itself acts
# like momentum (Mitliagkas et al. 2016, *Asynchrony begets momentum*), so a momentum that was tuned for one machine
# is too much for many.
#
# ## Accuracy against delay
#
# Now a real task: a perceptron on handwritten digits. Every delay is crossed with every rate, twice: as a fixed delay
# of every gradient (Downpour in turns), and as Hogwild!'s reads, where each coordinate has an age of its own, up to
# the delay.

# %%
RUNS = tempfile.TemporaryDirectory()
COMMON = {
    "data": data.load("fashion_mnist" if FULL else "digits", valid=0.2),
    "model": "mlp",
    "batch_size": 32,
    "epochs": 20 if FULL else 6,
}
RATES = np.geomspace(0.001, 3.0, 15 if FULL else 11)
DELAYS = [0, 2, 4, 8, 16]
SEEDS = 3


def trials(numbers, rates=RATES):
    """All combinations of the numbers' values and the rates, for a perceptron of 64 hidden units."""
    names, values = [*numbers, "learning_rate"], [*numbers.values(), rates]
    points = itertools.product(*values)
    return [Trial(dict(zip(names, map(float, p), strict=True)), {"widths": 64}, {"widths": "64"}) for p in points]


def run(name, asked, **parts):
    return sweep(Experiment(**COMMON, **parts), asked, replicates=SEEDS, directory=f"{RUNS.name}/{name}")


late = {
    "sgd": run("sgd", trials({"delay": DELAYS, "longest": [16]}), optimizer="sgd", workers="delayed"),
    "momentum": run(
        "momentum", trials({"delay": DELAYS, "longest": [16]}), optimizer="momentum", workers="delayed"
    ),
    "sgd, hogwild": run(
        "hogwild", trials({"delay": DELAYS, "longest": [16], "density": [1.0]}),
        optimizer="sgd", workers="hogwild",
    ),
}  # fmt: skip


# %%
def last_accuracy(run, *names):
    """The mean over seeds of the last validation, over some numbers and the rate; a failed trial counts as 0."""
    accuracy = run.valid_accuracy.isel(epoch=-1).fillna(0.0).mean("seed")
    return accuracy.set_index(trial=[*names, "learning_rate"]).unstack("trial")


figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained", sharey=True)
tuned, untuned, best_rate = {}, {}, {}
for ax, (name, found) in zip(axes, late.items(), strict=True):
    accuracy = last_accuracy(found, "delay")
    best = accuracy.argmax("learning_rate")
    best_rate[name] = accuracy.learning_rate[best].values
    tuned[name] = accuracy.max("learning_rate").values
    untuned[name] = accuracy.isel(learning_rate=int(best[0])).values
    ax.plot(DELAYS, tuned[name], "o-", label="rate tuned for each delay")
    ax.plot(DELAYS, untuned[name], "s--", label="rate tuned for delay 0")
    ax.set(xlabel="delay (updates)", title=name)
axes[0].set_ylabel("validation accuracy")
axes[2].legend(frameon=False, loc="lower left")
figure.suptitle("What does a delay cost?", fontsize="medium")
plt.show()

display(
    Markdown(
        "best rate at each delay\n\n|  | " + " | ".join(map(str, DELAYS)) + " |\n|---|" + "---|" * len(DELAYS) + "\n"
        + "\n".join(f"| {name} | " + " | ".join(f"{r:.3g}" for r in own) + " |" for name, own in best_rate.items())
    )
)  # fmt: skip
for name in late:
    print(f"{name}: at delay 16 {untuned[name][-1]:.3f} with the old rate, {tuned[name][-1]:.3f} with its own.")
assert untuned["sgd"][-1] < tuned["sgd"][0] - 0.1, "the old rate is too large for late gradients"
assert tuned["sgd"][-1] > untuned["sgd"][-1] + 0.3, "a rate of its own repairs most of it"
assert best_rate["sgd"][-1] < best_rate["sgd"][0], "late gradients want smaller steps"
assert best_rate["momentum"][-1] < best_rate["momentum"][0], "with momentum too"
assert untuned["sgd, hogwild"][-1] > untuned["sgd"][-1], "ages up to 16 are milder than 16"

# %% [markdown]
# The rate that was best without a delay diverges with one; a rate of its own brings most of the accuracy back. What is
# left is the price of small steps: the epochs are the same, so a slow rate has got less far. Reads of mixed ages are
# milder than a fixed age, since their mean is half of it.
#
# Downpour's own server runs Adagrad, whose steps shrink with all the gradients that came. Delay-tolerant algorithms
# (McMahan and Streeter 2014; Ruder 5.3) let it look at those which came in between, while a late gradient was on its
# way: where they agree with it, as they do along a way that is overshot, the steps get shorter. Exercise 5 has both.
#
# ## Local SGD: how rarely may workers talk?
#
# The other way is synchronous but rare: every worker takes `period` steps on its own share of each batch, then all
# take their mean (McDonald, Hall and Mann 2010 and Zinkevich et al. 2010 once, at the end; Stich 2019, algorithm 1,
# now and then). Written out, with three workers and one mean after two steps, beside the library's:

# %%
images, labels = COMMON["data"].train
batch = jnp.asarray(images[:96].reshape(96, -1) / images.max(), jnp.float32), jnp.asarray(labels[:96])
shares = [jax.tree.map(lambda x, k=k: x[32 * k : 32 * (k + 1)], batch) for k in range(3)]
alone = make_training(models.linear(outputs=10), losses.softmax_cross_entropy, optimizers.sgd, example=batch)
hparams = {"learning_rate": 0.5}
first = alone.init(jax.random.key(0), hparams).params


def descended(params, share):
    def loss(params):
        scores = share[0] @ params["dense"]["kernel"] + params["dense"]["bias"]
        return jnp.mean(losses.softmax_cross_entropy(scores, share[1]))

    return jax.tree.map(lambda p, g: p - hparams["learning_rate"] * g, params, jax.grad(loss)(params))


def after_steps(training, steps):
    state = training.init(jax.random.key(0), hparams)
    for _ in range(steps):
        state, _ = training.step(state, batch, hparams)
    return state.params


def same(ours, library):
    return all(jax.tree.leaves(jax.tree.map(lambda a, b: bool(jnp.allclose(a, b, atol=1e-6)), ours, library)))


own = [first] * 3
for _ in range(2):
    own = [descended(params, share) for params, share in zip(own, shares, strict=True)]
mean = jax.tree.map(lambda *each: sum(each) / 3, *own)

assert same(mean, after_steps(workers.local_sgd(alone, workers=3, period=2), 2)), "local_sgd is this"
assert same(after_steps(alone, 2), after_steps(workers.local_sgd(alone, workers=4, period=1), 2)), "period 1: plain SGD"
print("Both are the library's; with period 1 local SGD is plain SGD on the whole batch.")

# %% [markdown]
# ## Elastic averaging
#
# Averaging throws away where each worker has been. In EASGD (Zhang, Choromanska and LeCun 2015, equations (5) and
# (6); Ruder 5.5) each is only *pulled* towards a centre, and the centre towards them, so that they may explore:
# $$\mathtt{pull}_k = \tfrac{\mathtt{elasticity}}{\mathtt{workers}}\,(\theta_k - \mathtt{centre}), \qquad
# \theta_k \leftarrow \theta_k - \eta\,g_k - \mathtt{pull}_k, \qquad
# \mathtt{centre} \leftarrow \mathtt{centre} + \textstyle\sum_k \mathtt{pull}_k.$$
# The centre is what is evaluated.

# %%
own, centre = [first] * 3, first
for _ in range(3):
    pulls = [jax.tree.map(lambda p, c: 0.9 / 3 * (p - c), params, centre) for params in own]
    own = [
        jax.tree.map(jnp.subtract, descended(params, share), pull)
        for params, share, pull in zip(own, shares, pulls, strict=True)
    ]
    centre = jax.tree.map(lambda c, *each: c + sum(each), centre, *pulls)

tied = workers.elastic_averaging(alone, workers=3, period=1, elasticity=0.9)
assert same(centre, after_steps(tied, 3)), "elastic_averaging is this"
print("The library's centre is this one.")

# %% [markdown]
# What does silence cost? Four workers share each batch of 32; every period is crossed with every rate, elastic
# averaging with the elasticity too.

# %%
PERIODS = [1, 4, 16, 64]
ELASTICITIES = [0.1, 0.3, 0.9]
rare = {
    "local_sgd": run(
        "local", trials({"workers": [4], "period": PERIODS}), optimizer="sgd", workers="local_sgd"
    ),
    "elastic_averaging": run(
        "elastic", trials({"workers": [4], "period": PERIODS, "elasticity": ELASTICITIES}),
        optimizer="sgd", workers="elastic_averaging",
    ),
}  # fmt: skip

# %%
local = last_accuracy(rare["local_sgd"], "period").max("learning_rate").values
elastic = last_accuracy(rare["elastic_averaging"], "period", "elasticity").max("learning_rate")
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.plot(PERIODS, local, "o-", label="local_sgd")
for elasticity, style in zip(ELASTICITIES, ["C1s--", "C3D-.", "k^:"], strict=True):
    own = elastic.sel(elasticity=elasticity, method="nearest")
    ax.plot(PERIODS, own, style, label=f"elastic_averaging, elasticity {elasticity}")
ax.set(xscale="log", xticks=PERIODS, xticklabels=PERIODS, xlabel="period (steps)", ylabel="validation accuracy")
ax.minorticks_off()
ax.set_title("How rarely may four workers talk to each other?", fontsize="medium")
ax.legend(frameon=False)
plt.show()

print("local_sgd:", {period: round(float(value), 3) for period, value in zip(PERIODS, local, strict=True)})
strongest, weakest = elastic.isel(elasticity=-1).values, elastic.isel(elasticity=0).values
assert local[PERIODS.index(16)] > local[0] - 0.03, "a sixteenth of the messages costs little"
assert weakest[-1] < strongest[0] - 0.05, "a weak and rare spring leaves the centre behind"

# %% [markdown]
# With shares drawn from the same data, local SGD needs few messages: between two means the workers go nearly the same
# way. (Exercise 3 takes that away.) Elastic averaging evaluates its centre, which follows only as fast as the springs
# pull: what counts is the elasticity per step. Its paper's gain is in long runs of large networks, where exploring
# pays; a few epochs on digits are no test of that.
#
# ## Without locks
#
# Hogwild! (Recht, Re, Wright and Niu 2011, algorithm 1; Ruder 5.1) lets all workers read and write the same memory at
# once. A worker then reads coordinates of different ages; and where features are rare it writes few coordinates, so
# that two workers hardly ever write the same. `workers.hogwild` has both numbers: the largest age, and the `density`,
# the share of coordinates that one update touches. The third panel above was Hogwild! with density 1. How do density
# and age trade off, at the best rate?

# %%
DENSITIES = [0.05, 0.2, 1.0]
wild = run(
    "wild", trials({"delay": [0, 4, 16], "density": DENSITIES, "longest": [16]}, rates=RATES * 3),
    optimizer="sgd", workers="hogwild",
)  # fmt: skip

# %%
ax = results.plots.heatmap(wild, "delay", "density")
ax.figure.set_size_inches(6, 3.4)
ax.set_title("Which ages and densities can be trained?", fontsize="medium")
plt.show()

accuracy = last_accuracy(wild, "delay", "density").max("learning_rate")
means = {density: float(accuracy.sel(density=density, method="nearest").mean()) for density in DENSITIES}
print("mean accuracy over the ages:", {density: round(mean, 3) for density, mean in means.items()})
assert means[0.05] < means[1.0], "updates that touch few coordinates get less far in the same number of steps"
for density in DENSITIES:
    fresh, mixed, old = (float(accuracy.sel(density=density, delay=delay, method="nearest")) for delay in (0, 4, 16))
    print(f"density {density}: ages up to 4 cost {fresh - mixed:+.3f} in accuracy, ages up to 16 {fresh - old:+.3f}")
    assert fresh - old > max(0.0, fresh - mixed), "old reads cost at every density, and more than young ones"
    assert abs(fresh - mixed) < 0.02, "ages up to 4 cost little"

# %% [markdown]
# What this can show is the price, in updates: an update that writes a twentieth of the coordinates gets less far, and
# ages up to 16 cost at every density, ages up to 4 little or nothing. What Recht et al. prove is about the gain, in
# time: where updates are sparse, workers seldom collide, so that many of them finish nearly as many times more updates.
# This simulation draws which coordinates are written, where sparse data would decide it, and counts no time, so it
# does not test that theorem.
#
# ## Exercises
#
# **1.** The recurrence $\theta_{t+1} = \theta_t - \eta\lambda\,\theta_{t-\tau}$ has the solutions $z^t$ with
# $z^{\tau+1} - z^\tau + \eta\lambda = 0$. Check the bound of the first section for $\tau = 8$ by its roots.
#
# <details><summary>Solution 1</summary>
#
# ```python
# tau = 8
# limit = 2 * np.sin(np.pi / (4 * tau + 2))
# for rate, inside in [(0.99 * limit, True), (1.01 * limit, False)]:
#     largest = np.abs(np.roots([1.0, -1.0, *[0.0] * (tau - 1), rate])).max()
#     print(f"rate {rate:.4f}: largest root {largest:.4f}")
#     assert (largest < 1) == inside
# ```
# </details>
#
# **2.** A step takes 1 ms of computing, and a mean over the workers 20 ms of waiting. With which of the periods above
# is the whole run done in a tenth of the time that period 1 takes, and what does that cost in accuracy?
#
# <details><summary>Solution 2</summary>
#
# A step costs $1 + 20/\mathtt{period}$ ms, and the number of steps is the same.
#
# ```python
# for period, accuracy in zip(PERIODS, local, strict=True):
#     share = (1 + 20 / period) / 21
#     print(f"period {period}: {share:.0%} of the time, accuracy {accuracy:.3f} ({accuracy - local[0]:+.3f})")
#     assert (share < 0.1) == (period == 64)
# ```
#
# Only period 64 is; in the time of period 1 it could have trained more than ten times as long.
# </details>
#
# **3.** Give the workers different data: sort the digits by their labels, so that each worker sees its own classes.
# What does local SGD cost with period 1 and with period 64?
#
# <details><summary>Solution 3</summary>
#
# ```python
# x, y = images.reshape(len(images), -1) / images.max(), labels
# by_label = np.array_split(np.argsort(y, kind="stable"), 4)
# size = min(map(len, by_label)) // 8 * 8
#
#
# def accuracy_after(period, sorted_by_label, epochs=10):
#     shares = by_label if sorted_by_label else np.array_split(np.random.default_rng(0).permutation(len(y)), 4)
#     rows = np.stack([np.random.default_rng(1).permutation(s)[:size] for s in shares])  # [worker, example]
#     order = rows.reshape(4, -1, 8).transpose(1, 0, 2).reshape(-1, 32)  # a batch is 8 examples of each worker
#     training = workers.local_sgd(alone, workers=4, period=period)
#     batches = jnp.asarray(np.tile(x[order], (epochs, 1, 1)), jnp.float32), jnp.asarray(np.tile(y[order], (epochs, 1)))
#     start = training.init(jax.random.key(0), hparams)
#     end, _ = jax.jit(lambda s, b: jax.lax.scan(lambda s, one: training.step(s, one, hparams), s, b))(start, batches)
#     kernel, bias = end.params["dense"]["kernel"], end.params["dense"]["bias"]
#     valid_x, valid_y = COMMON["data"].valid
#     scores = valid_x.reshape(len(valid_x), -1) / images.max() @ kernel + bias
#     return float((scores.argmax(axis=1) == valid_y).mean())
#
#
# costs = {by: accuracy_after(1, by) - accuracy_after(64, by) for by in (False, True)}
# print("accuracy lost by period 64, without and with sorting:", costs)
# assert costs[True] > costs[False]
# ```
#
# Workers with different data drift apart between two means ("client drift", Karimireddy et al. 2020, *SCAFFOLD*):
# silence is free only among equals.
# </details>
#
# **4.** Make the delay harmless by rule: divide the rate by $1 + \tau$. Is that too careful or not careful enough?
# Compare with the best rates of the table.
#
# <details><summary>Solution 4</summary>
#
# ```python
# ratio = best_rate["sgd"] / (best_rate["sgd"][0] / (1 + np.array(DELAYS)))
# print("best rate over the rule's:", dict(zip(DELAYS, ratio.round(1).tolist(), strict=True)))
# print(f"one place of the grid is a factor of {RATES[1] / RATES[0]:.1f}")
# assert ((0.4 < ratio) & (ratio < 2.3)).all()
# ```
#
# Above 1 the rule would be too careful, below 1 not careful enough. All ratios are within about one place of the grid,
# so here the rule is about right: like the stability bound, the best rate falls about as $1/\tau$.
# </details>
#
# **5.** A server gets each gradient $g$ late, taken `delay` updates ago. Downpour's adds $g^2$ to Adagrad's sum $z$ of
# squares. AdaptiveRevision (McMahan and Streeter 2014) knows the sum $b$ of the gradients that came in between, and
# adds $g^2 + 2 g b = (g + b)^2 - b^2$. The rate is $\alpha/\sqrt{z'}$, with $z'$ the largest $z$ so far; where it falls
# from $\eta'$ to $\eta$, the steps of the gradients in $b$ are revised:
# $\theta \leftarrow \theta - \eta g + (\eta' - \eta)\,b$. Train softmax regression by both. What does a delay cost,
# with the rate that is best without one, and with a rate of its own?
#
# <details><summary>Solution 5</summary>
#
# With $b$ set to 0 it is Adagrad. Both sums begin at a small number, so that nothing is divided by 0.
#
# ```python
# x, y = jnp.asarray(images.reshape(len(images), -1) / images.max(), jnp.float32), jnp.asarray(labels)
# checks = jnp.asarray(COMMON["data"].valid[0].reshape(-1, x.shape[1]) / images.max(), jnp.float32)
# answers = jnp.asarray(COMMON["data"].valid[1])
# batches = jnp.asarray(np.stack([np.random.default_rng(i).permutation(len(y))[:32] for i in range(200)]))
#
#
# def loss(weights, x, y):
#     return jnp.mean(losses.softmax_cross_entropy(x @ weights, y))
#
#
# def loss_after(rate, delay, revising):
#     def step(carry, rows):
#         t, weights, total, z, largest, past = carry
#         past = past.at[t % (LONGEST + 1)].set(jnp.stack([weights, total]))
#         stale, total_then = past[jnp.maximum(t - delay, 0) % (LONGEST + 1)]
#         g = jax.grad(loss)(stale, x[rows], y[rows])
#         b = revising * (total - total_then)
#         z = z + g * (g + 2 * b)
#         old_rate, largest = rate / jnp.sqrt(largest), jnp.maximum(largest, z)
#         new_rate = rate / jnp.sqrt(largest)
#         weights = weights - new_rate * g + (old_rate - new_rate) * b
#         return (t + 1, weights, total + g, z, largest, past), None
#
#     zero = jnp.zeros((x.shape[1], 10))
#     start = (0, zero, zero, zero + 1e-4, zero + 1e-4, jnp.zeros((LONGEST + 1, 2, *zero.shape)))
#     return loss(jax.lax.scan(step, start, batches)[0][1], checks, answers)
#
#
# late_by, of_rates = jnp.array([0, 4, 16]), jnp.asarray(RATES)
# ended = {
#     name: np.asarray(jax.jit(jax.vmap(jax.vmap(loss_after, (0, None, None)), (None, 0, None)))(of_rates, late_by, on))
#     for name, on in [("adagrad", 0.0), ("adaptive revision", 1.0)]
# }
# old = {name: values[:, values[0].argmin()] for name, values in ended.items()}
# for name, values in ended.items():
#     print(f"{name:18} old rate {old[name].round(3)}, own rate {values.min(axis=1).round(3)}")
# assert np.isclose(old["adagrad"][0], old["adaptive revision"][0]), "without a delay they are one"
# assert (old["adaptive revision"][1:] < 0.8 * old["adagrad"][1:]).all()
# assert ended["adagrad"].min(axis=1)[-1] < ended["adaptive revision"].min(axis=1)[-1], "tuned anew, adagrad is ahead"
# ```
#
# Its gain is at the old rate: knowing what came in between, it loses much less without being tuned anew. It is no gain
# over tuning: with a rate of its own for the long delay plain Adagrad is ahead, in so few updates. (The paper's delays
# are of a thousand updates and more.)
# </details>
