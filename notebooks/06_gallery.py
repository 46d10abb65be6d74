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
# # 6. A gallery of methods
#
# What you will learn:
#
# - what each method from momentum to AMSGrad remembers, and what it does with it, in about three lines each, checked
#   against the library's;
# - what two rules that a program found ask of signs (PowerSign, AddSign), and why several momenta swing less than one
#   (QHAdam, AggMo);
# - how ten of them move over the surfaces of Ruder's animations, all in one compiled call;
# - why dividing by the size of past gradients leaves a saddle in a few steps, however near its ridge one starts;
# - what Adagrad is for: features that are rare;
# - what came after the overview: AdamW, Lion, Muon, Shampoo, SOAP and schedule-free methods.
#
# It follows Ruder 2016, *An overview of gradient descent optimization algorithms* (arXiv 1609.04747), sections 4.1 to
# 4.9; Ruder 2017, *Optimization for deep learning highlights in 2017*; and Yao, *An introduction to optimization
# methods in deep learning*. The paper of each method stands beside it.

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
import io
import itertools
import os
import tempfile

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pandas as pd
from IPython.display import Image, Markdown, display
from matplotlib.colors import to_rgb
from PIL import Image as Picture

from jaxopt_intro import (
    Experiment,
    Space,
    choice,
    data,
    log_uniform,
    losses,
    make_training,
    models,
    optimizers,
    results,
    sweep,
)
from jaxopt_intro.optimizers import METHODS
from jaxopt_intro.results.drawing import COLOURS
from jaxopt_intro.results.surfaces import Panel, draw
from jaxopt_intro.surfaces import SURFACES, beale, saddle
from jaxopt_intro.training.paths import paths

SIZE = os.environ.get("JAXOPT_INTRO_SIZE", "small")  # "full": all images and more trials; minutes to hours on two cores
FULL = SIZE == "full"
plt.style.use("tableau-colorblind10")
jax.config.update("jax_default_matmul_precision", "highest")  # equalities are checked, also on GPUs that round products

# %% [markdown]
# ## Three surfaces, ten methods, one compiled call
#
# A method that trains a million parameters can be watched on two. The three surfaces are those of the animations that
# Radford made and Ruder's section 4.9 shows:
#
# - **Beale's function**, a flat, curved valley between steep walls,
#   $(1.5 - x + xy)^2 + (2.25 - x + xy^2)^2 + (2.625 - x + xy^3)^2$;
# - **a long valley**, $x^2/200 + y^2/2$, a hundred times as curved across as along: steps short enough across are too
#   short along;
# - **a saddle** between two hollows, $x^2 - y^2 + y^4/4$. Every path starts almost on the ridge, at $y = 0.01$, where
#   the gradient points into the saddle and hardly to a hollow.
#
# A comparison at one learning rate would compare the rates. `paths` therefore walks each method at 21 rates from
# 0.001 to 100 and keeps the path that is lowest on average. All methods, rates and surfaces are one compiled program.

# %%
NAMES = ["sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamax", "nadam", "amsgrad"]
SHOWN = ["beale", "long_valley", "saddle"]
STEPS = 200

rows = {name: METHODS[name]._replace(learning_rates=log_uniform(1e-3, 100.0)) for name in NAMES}
walked = jax.device_get(paths(rows, [SURFACES[name] for name in SHOWN], steps=STEPS, rates=21))
print("points of one method:", walked["adam"].points.shape, "(surface, step, coordinate)")

# %% [markdown]
# ### Who is where after the same number of steps?
#
# The circle is the start, a star a lowest point. Contours are at equal ratios of height. (The picture is an animated
# PNG; on paper, or where a viewer does not play it, it shows the whole paths.)


# %%
def panel(name):
    surface = SURFACES[name]
    x, y = (np.linspace(*ends, 161) for ends in surface.bounds)
    heights = jax.vmap(jax.vmap(surface.function))(jnp.stack(jnp.meshgrid(x, y), axis=-1)) - surface.minimum
    return Panel(name, x, y, np.asarray(heights), surface.start, surface.minimizers)


def animated(figure, frames, dpi=72):
    """The figure's paths growing step by step, as an animated PNG whose still picture is the whole."""
    figure.set_dpi(dpi)
    lines = [(line, *line.get_data()) for ax in figure.axes for line in ax.lines if line.get_label() in NAMES]

    def picture():
        figure.canvas.draw()
        return Picture.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])

    def mixed(first, second, count):
        return [round(255 * x) for step in np.linspace(0, 1, count) for x in (1 - step) * first + step * second]

    white, black, pale = (np.array(to_rgb(name)) for name in ["white", "black", "#d0d5dd"])
    lines_and_edges = [x for name in COLOURS[:6] for x in mixed(np.array(to_rgb(name)), pale, 5)]
    colours = lines_and_edges + mixed(black, white, 17) + mixed(pale, white, 16) + [0, 0, 0]
    clear, shots = len(colours) // 3 - 1, []
    palette = Picture.new("P", (1, 1))
    palette.putpalette(colours)
    still = picture().quantize(palette=palette, dither=Picture.Dither.NONE)
    for frame in frames:
        for line, x, y in lines:
            line.set_data(x[: frame + 1], y[: frame + 1])
            line.set_markevery([frame])
        shots.append(np.asarray(picture().quantize(palette=palette, dither=Picture.Dither.NONE)))
    plt.close(figure)

    # What a frame has in common with the one before is transparent, which keeps the file small.
    changes = [shots[0], *(np.where(now == old, clear, now) for old, now in itertools.pairwise(shots))]
    pictures = [Picture.fromarray(change.astype(np.uint8)) for change in changes]
    for one in [still, *pictures]:  # an animated PNG has one palette
        one.putpalette(colours)
    file, pauses = io.BytesIO(), [*[100] * (len(shots) - 1), 4000]
    still.save(
        file, "PNG", save_all=True, default_image=True, append_images=pictures, duration=pauses, loop=0, blend=1,
        transparency=clear,
    )  # fmt: skip
    return Image(data=file.getvalue(), format="png")


figure = draw([panel(name) for name in SHOWN], {name: list(walked[name].points) for name in NAMES})
shown = animated(figure, [*range(0, 30), *range(30, 80, 3), *range(80, STEPS + 1, 12)])
print(f"{len(shown.data) / 1000:.0f} kB")
shown

# %% [markdown]
# How many steps does each need to come within 0.01 of the lowest height?

# %%
WITHIN = 0.01


def first_within(heights):
    """The first step from which on the path stays within 0.01; infinity if it does not."""
    outside = np.flatnonzero(~(heights < WITHIN))
    first = outside[-1] + 1 if outside.size else 0
    return first if first < len(heights) else np.inf


needed = {name: [first_within(heights) for heights in walked[name].heights] for name in NAMES}
columns = {}
for i, surface in enumerate(SHOWN):
    columns[surface, "steps"] = [f"{needed[name][i]:.0f}".replace("inf", f"over {STEPS}") for name in NAMES]
    columns[surface, "rate"] = [f"{walked[name].rate[i]:.3g}" for name in NAMES]
display(pd.DataFrame(columns, index=NAMES))

spread = max(float(walked[name].rate.max() / walked[name].rate.min()) for name in NAMES)
last_step = {name: np.linalg.norm(np.diff(walked[name].points[1, -20:], axis=0), axis=1).mean() for name in NAMES}
print(f"One method's best rates on two surfaces differ by up to {spread:.0f} times.")
print(f"In the long valley the last steps of RMSprop are {last_step['rmsprop']:.1e} long, those of momentum", end=" ")
print(f"{last_step['momentum']:.1e}.")
assert spread > 30, "a best rate belongs to a method and a surface"
assert last_step["rmsprop"] > 10 * last_step["momentum"], "at a constant rate RMSprop does not settle"

# %% [markdown]
# Three things to take from the table. A best rate belongs to a method *and* a surface, so a comparison at one rate
# compares nothing. RMSprop comes near soon and then does not settle: its steps are about as long as its rate however
# small the gradient is, so that it circles the lowest point until the rate falls (a schedule's task). And the rates
# of Adadelta are not rates: its paper has none, it takes the length of a step from the steps before it, which at
# first are tiny.
#
# On the long valley the theory is exact. Gradient descent on a quadratic with curvatures from $\lambda$ to
# $\kappa\lambda$ multiplies the distance by at best $\frac{\kappa-1}{\kappa+1}$ in a step, momentum by
# $\frac{\sqrt\kappa-1}{\sqrt\kappa+1}$ (Polyak 1964); here $\kappa = 100$. Exercise 1 computes both.

# %%
in_valley = {name: needed[name][1] for name in ["sgd", "momentum", "nesterov"]}
assert max(in_valley["momentum"], in_valley["nesterov"]) < in_valley["sgd"], "momentum shortens the long valley"

# %% [markdown]
# ## Why adaptive methods leave the saddle at once
#
# Almost on the ridge the gradient across it is $-2y$: a tenth of the distance, a tenth of the gradient. Gradient
# descent multiplies $y$ by a constant factor at each step, $y \leftarrow (1 + 2\eta)\,y$, so its time to leave grows
# with $\log(1/y_0)$. A method that divides by the root of past squared gradients takes steps of the same length
# however small the gradient is, and the logarithm is gone. Saddles, not poor minima, are what high-dimensional losses
# have many of (Dauphin et al. 2014, *Identifying and attacking the saddle point problem*; Ruder, section 3).
#
# How long does it take to leave ($|y| > 0.5$), from closer and closer to the ridge? (All at rate 0.05;
# another rate moves the curves, but what counts is whether they rise.)


# %%
def walked_by(optimizer, height, start, steps=60):
    """Every point that an optimizer visits; two calls are all that optax's protocol asks."""

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(height)(params), state, params)
        return (optax.apply_updates(params, updates), state), params

    return jax.lax.scan(step, (start, optimizer.init(start)), length=steps)[1]


def leaving(name, distances, rate=0.05, steps=400):
    def time_to_leave(distance):
        points = walked_by(METHODS[name].make(learning_rate=rate), saddle, jnp.array([1.3, distance]), steps)
        away = jnp.abs(points[:, 1]) > 0.5
        return jnp.where(away.any(), jnp.argmax(away), steps)

    return jax.vmap(time_to_leave)(distances)


distances = 10.0 ** -jnp.arange(1, 7)
ESCAPING = ["sgd", "momentum", "adagrad", "rmsprop", "adam"]
times = jax.jit(lambda: {name: leaving(name, distances) for name in ESCAPING})()

figure, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
for name, mark, dashes in zip(ESCAPING, "osD^v", ["-", "--", ":", "-.", (0, (5, 1))], strict=True):
    ax.plot(distances, times[name], marker=mark, ls=dashes, label=name)
ax.set(xscale="log", xlabel="first distance from the ridge, $y_0$", ylabel="steps until $|y| > 0.5$")
ax.set_title("How long does it take to leave the saddle?", fontsize="medium")
ax.legend(frameon=False, ncols=2)
plt.show()

growth = {name: int(t[-1] - t[0]) for name, t in times.items()}
predicted = float(jnp.log(distances[0] / distances[-1]) / jnp.log1p(2 * 0.05))
print(f"From y0 = {distances[0]:.0e} to {distances[-1]:.0e} the time grows by (steps):", growth)
print(
    f"Gradient descent should need {predicted:.0f} more: log({distances[0] / distances[-1]:.0e}) / log(1 + 2 * 0.05)."
)
assert abs(growth["sgd"] - predicted) < 5, "the time of gradient descent grows with the logarithm"
assert max(growth["adagrad"], growth["rmsprop"], growth["adam"]) < growth["sgd"] / 5, "that of adaptive methods hardly"

# %% [markdown]
# Momentum pays the logarithm too, a smaller one: its velocity is a sum of gradients, and doubles sooner.
#
# ## Each update in three lines
#
# A method is an initial memory and an update. Here each is written out with the library's names and run beside the
# library's own on Beale's function, 60 steps. `grads` is the gradient $g$ at `params` $\theta$, `rate` is $\eta$, `t`
# counts from 1. All products are element by element.


# %%
START = jnp.array(SURFACES["beale"].start)


def walked_in_three_lines(update, memory, height, start, rate, steps=60):
    def step(carry, t):
        params, *memory = carry
        return update(params, jax.grad(height)(params), rate, t, *memory), params

    return jax.lax.scan(step, (start, *memory), jnp.arange(1, steps + 1))[1]


def beside(optimizer, update, *memory, rate, height=beale, start=START):
    """Asserts that both go the same way, and says how nearly."""
    library = walked_by(optimizer, height, start)
    ours = walked_in_three_lines(update, memory, height, start, rate)
    difference = float(jnp.max(jnp.abs(ours - library)))
    moved = float(jnp.max(jnp.abs(library[-1] - library[0])))
    assert difference < 1e-3 * moved, f"{update.__name__} is not the library's: {difference}"
    print(f"{update.__name__}: moved by {moved:.2f}, the largest difference of the two is {difference:.0e}")


zero = jnp.zeros(2)

# %% [markdown]
# **Momentum** (Polyak 1964; Ruder 4.1) adds up gradients in a velocity, of which a share $\gamma$ stays:
# $$\mathtt{velocity} \leftarrow \gamma\,\mathtt{velocity} + \eta\,g, \qquad
# \theta \leftarrow \theta - \mathtt{velocity}.$$
# Along a direction that keeps its sign the step grows to $1/(1-\gamma)$ times gradient descent's; where the sign
# changes, steps cancel.


# %%
def momentum(params, grads, rate, t, velocity, share=0.9):
    velocity = share * velocity + rate * grads
    return params - velocity, velocity


beside(optimizers.momentum(learning_rate=0.002), momentum, zero, rate=0.002)

# %% [markdown]
# **Nesterov's accelerated gradient** (Nesterov 1983; Ruder 4.2) takes the gradient where the velocity is about to
# carry it, $g = \nabla f(\theta - \gamma\,\mathtt{velocity})$, so that it brakes before a slope and not on it. A
# training step knows the gradient at `params` alone; so the library lets `params` *be* the point ahead (Sutskever et
# al. 2013). Below are Ruder's lines; their point ahead goes the library's way.


# %%
def nesterov(ahead, grads_ahead, rate, t, velocity, share=0.9):
    position = ahead + share * velocity  # Ruder's params; ahead = position - share * velocity
    velocity = share * velocity + rate * grads_ahead
    return (position - velocity) - share * velocity, velocity


beside(optimizers.nesterov(learning_rate=0.002), nesterov, zero, rate=0.002)

# %% [markdown]
# **Adagrad** (Duchi, Hazan and Singer 2011; Ruder 4.3) gives every parameter a rate of its own, that falls with the
# squares of its gradients so far:
# $$\mathtt{squares} \leftarrow \mathtt{squares} + g^2, \qquad
# \theta \leftarrow \theta - \eta\,g / (\sqrt{\mathtt{squares}} + \epsilon).$$
# Where gradients are rare the rate stays high (the next section); the sum never falls, so that the rates go to zero,
# wanted or not.


# %%
def adagrad(params, grads, rate, t, squares, eps=1e-10):
    squares = squares + grads**2
    return params - rate * grads / (jnp.sqrt(squares) + eps), squares


beside(optimizers.adagrad(learning_rate=0.1), adagrad, zero, rate=0.1)

# %% [markdown]
# **Adadelta** (Zeiler 2012; Ruder 4.4) lets the squares fade, and multiplies by the size of its own past steps, so
# that a step has the unit of the parameter and no rate is needed (`rate` is 1):
# $$\mathtt{step} = \sqrt{\mathtt{squared\_steps} + \epsilon}\,/\sqrt{\mathtt{squared\_grads} + \epsilon}\;g.$$


# %%
def adadelta(params, grads, rate, t, squared_grads, squared_steps, rho=0.95, eps=1e-6):
    squared_grads = rho * squared_grads + (1 - rho) * grads**2
    steps = jnp.sqrt(squared_steps + eps) / jnp.sqrt(squared_grads + eps) * grads
    return params - rate * steps, squared_grads, rho * squared_steps + (1 - rho) * steps**2


beside(optimizers.adadelta(), adadelta, zero, zero, rate=1.0)

# %% [markdown]
# **RMSprop** (Hinton, Srivastava and Swersky 2012, lecture 6e; Ruder 4.5) is the first half of that: a moving average
# in place of Adagrad's sum, $\nu \leftarrow \beta_2 \nu + (1 - \beta_2)\,g^2$, and a rate.


# %%
def rmsprop(params, grads, rate, t, nu, b2=0.9, eps=1e-8):
    nu = b2 * nu + (1 - b2) * grads**2
    return params - rate * grads / (jnp.sqrt(nu) + eps), nu


beside(optimizers.rmsprop(learning_rate=0.01), rmsprop, zero, rate=0.01)

# %% [markdown]
# **Adam** (Kingma and Ba 2015, algorithm 1; Ruder 4.6) averages the gradient too. Both averages start at 0 and are
# too small at first, by the factor $1 - \beta^t$; dividing by it is the bias correction:
# $$\mu \leftarrow \beta_1\mu + (1-\beta_1)\,g, \quad \nu \leftarrow \beta_2\nu + (1-\beta_2)\,g^2, \quad
# \theta \leftarrow \theta - \eta\,\frac{\mu/(1-\beta_1^t)}{\sqrt{\nu/(1-\beta_2^t)} + \epsilon}.$$


# %%
def adam(params, grads, rate, t, mu, nu, b1=0.9, b2=0.999, eps=1e-8):
    mu, nu = b1 * mu + (1 - b1) * grads, b2 * nu + (1 - b2) * grads**2
    ratio = (mu / (1 - b1**t)) / (jnp.sqrt(nu / (1 - b2**t)) + eps)
    return params - rate * ratio, mu, nu


beside(optimizers.adam(learning_rate=0.05), adam, zero, zero, rate=0.05)

# %% [markdown]
# **AdaMax** (the same paper, algorithm 2; Ruder 4.7) replaces the average of squares by a fading maximum, which needs
# no correction: $\mathtt{largest} \leftarrow \max(\beta_2\,\mathtt{largest}, |g|)$.


# %%
def adamax(params, grads, rate, t, mu, largest, b1=0.9, b2=0.999):
    mu, largest = b1 * mu + (1 - b1) * grads, jnp.maximum(b2 * largest, jnp.abs(grads))
    return params - rate * (mu / (1 - b1**t)) / largest, mu, largest


beside(optimizers.adamax(learning_rate=0.05), adamax, zero, zero, rate=0.05)

# %% [markdown]
# **Nadam** (Dozat 2016; Ruder 4.8) is Adam with Nesterov's look ahead: the *next* step's share of the average, and
# the present gradient. Dozat's momentum rises, $m(t) = \beta_1 (1 - \tfrac12\,0.96^{0.004 t})$, so the correction is
# a product of different shares. Ruder's equation keeps $m = \beta_1$.


# %%
def nadam(params, grads, rate, t, mu, nu, product, b1=0.9, b2=0.999, eps=1e-8):
    now, following = (b1 * (1 - 0.5 * 0.96 ** (0.004 * k)) for k in (t, t + 1))
    mu, nu, product = now * mu + (1 - now) * grads, b2 * nu + (1 - b2) * grads**2, now * product
    ahead = following * mu / (1 - product * following) + (1 - now) * grads / (1 - product)
    return params - rate * ahead / (jnp.sqrt(nu / (1 - b2**t)) + eps), mu, nu, product


beside(optimizers.nadam(learning_rate=0.05), nadam, zero, zero, jnp.ones(()), rate=0.05)

# %% [markdown]
# **AMSGrad** (Reddi, Kale and Kumar 2018, algorithm 2; Ruder 2017) answers a convex problem on which Adam walks the
# wrong way: a large but rare gradient is forgotten too soon. It divides by the largest average so far,
# $\mathtt{largest} \leftarrow \max(\mathtt{largest}, \nu)$, so that no rate ever rises.


# %%
def amsgrad(params, grads, rate, t, mu, nu, largest, b1=0.9, b2=0.999, eps=1e-8):
    mu, nu = b1 * mu + (1 - b1) * grads, b2 * nu + (1 - b2) * grads**2
    largest = jnp.maximum(largest, nu)
    return params - rate * mu / (jnp.sqrt(largest) + eps), mu, nu, largest


beside(optimizers.amsgrad(learning_rate=0.01), amsgrad, zero, zero, zero, rate=0.01)

# %% [markdown]
# Exercise 2 builds Reddi's problem and watches Adam fail.

# %% [markdown]
# ### Signs that agree, and momenta that are mixed
#
# Four more that Ruder's later texts take up. **PowerSign** and **AddSign** (Bello et al. 2017; Ruder 2017, *Learning to
# optimize*) were not thought of but found: a recurrent network wrote update rules, and the accuracy of small networks
# that were trained by them was its reward. Both ask whether gradient and momentum agree in sign, element by element:
# the gradient counts $e$ times where they do and $1/e$ times where they don't, or twice and not at all.


# %%
def powersign(params, grads, rate, t, mu, b1=0.9):
    mu = b1 * mu + (1 - b1) * grads
    return params - rate * jnp.exp(jnp.sign(grads) * jnp.sign(mu)) * grads, mu


def addsign(params, grads, rate, t, mu, b1=0.9):
    mu = b1 * mu + (1 - b1) * grads
    return params - rate * (1 + jnp.sign(grads) * jnp.sign(mu)) * grads, mu


beside(optimizers.powersign(learning_rate=0.002), powersign, zero, rate=0.002)
beside(optimizers.addsign(learning_rate=0.002), addsign, zero, rate=0.002)

# %% [markdown]
# **QHAdam** (Ma and Yarats 2019, section 4) mixes Adam's average with the gradient itself, $(1 - \nu_1)\,g +
# \nu_1\,\hat\mu$: an average may then be long ($\beta_1 = 0.995$), since what is new counts at once. With $\nu_1 =
# \nu_2 = 1$ it is Adam. **AggMo** (Lucas et al. 2019, equation (2)) keeps several velocities whose shares are $0$,
# $0.9$ and $0.99$, and moves by their mean.


# %%
def qhadam(params, grads, rate, t, mu, nu, b1=0.995, b2=0.999, nu1=0.7, nu2=1.0, eps=1e-8):
    mu, nu = b1 * mu + (1 - b1) * grads, b2 * nu + (1 - b2) * grads**2
    first = (1 - nu1) * grads + nu1 * mu / (1 - b1**t)
    second = (1 - nu2) * grads**2 + nu2 * nu / (1 - b2**t)
    return params - rate * first / (jnp.sqrt(second) + eps), mu, nu


def aggmo(params, grads, rate, t, velocities, shares=(0.0, 0.9, 0.99)):
    velocities = jnp.array(shares)[:, None] * velocities + grads
    return params - rate * velocities.mean(axis=0), velocities


beside(optimizers.qhadam(learning_rate=0.05), qhadam, zero, zero, rate=0.05)
beside(optimizers.aggmo(learning_rate=0.001), aggmo, jnp.zeros((3, 2)), rate=0.001)

# %% [markdown]
# What is a mean of velocities good for? A share of 0.99 is fast along a valley, and swings: nothing brakes it. In
# AggMo the velocities with smaller shares push back against the swing (*passive damping*). Question: **who comes to
# rest?** All go down the long valley, each at the best of 25 rates.

# %%
valley, far = SURFACES["long_valley"].function, jnp.array([-9.0, 1.2])
SWINGING = {
    "momentum, share 0.99": lambda rate: optimizers.momentum(learning_rate=rate, momentum=0.99),
    "aggmo, shares 0, 0.9, 0.99": lambda rate: optimizers.aggmo(learning_rate=rate),
    "momentum, share 0.9": lambda rate: optimizers.momentum(learning_rate=rate, momentum=0.9),
}


def at_its_best(make, tried, steps=301):
    """The path along the valley at the rate that is lowest on average, the height left, and whether it is no edge."""
    walks = jax.jit(jax.vmap(lambda rate: walked_by(make(rate), valley, far, steps)))(tried)
    above = jax.vmap(jax.vmap(valley))(walks) - SURFACES["long_valley"].minimum
    lowest = int(jnp.nanargmin(above.mean(axis=1)))
    return np.asarray(walks[lowest, :, 0]), float(above[lowest, -1]), 0 < lowest < len(tried) - 1


def swing(path):
    """The second swing past the bottom as a share of the first."""
    passes = np.flatnonzero(np.diff(np.sign(path)))[:3] + 1
    first, second = (np.abs(path[begin:end]).max() for begin, end in itertools.pairwise(passes))
    return float(second / first)


figure, ax = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
swings, left = {}, {}
for (name, make), dashes in zip(SWINGING.items(), [":", "-", "--"], strict=True):
    path, left[name], inside = at_its_best(make, jnp.geomspace(1e-3, 10.0, 25))
    assert inside, "at an end of its range a best rate says that the range is too small"
    swings[name] = swing(path)
    ax.plot(path, ls=dashes, label=f"{name}: a swing leaves {swings[name]:.0%} of the one before")
ax.axhline(0, color="0.6", lw=1)
ax.set(xlabel="step", ylabel="place along the valley", ylim=(-13, 7))
ax.set_title("Who comes to rest?", fontsize="medium")
ax.legend(frameon=False, fontsize="small", loc="lower right")
plt.show()

print(f"height left after {len(path) - 1} steps:", {name: f"{value:.0e}" for name, value in left.items()})
long_share, mixed_shares, short_share = SWINGING
assert swings[mixed_shares] < 0.8 * swings[long_share], "small shares brake a large one"
assert left[mixed_shares] < 0.01 * left[long_share]
assert left[short_share] < left[mixed_shares], "here a single share, well chosen, is better still"

# %% [markdown]
# The small shares brake the large one, as promised. But a single share that suits the valley needs no brake, and comes
# nearer still: what AggMo saves is the choice of the share, not the steps.

# %% [markdown]
# ## Adagrad and rare features
#
# In text, most words occur in few documents, and a rare word says most about the few. Adagrad was made for such data
# (Duchi, Hazan and Singer 2011, section 1.3; Ruder 4.3): a parameter whose feature is seen seldom should move far
# when it is. Each digit's image becomes such a document: each of its 16 patches of 2x2 pixels, at four levels of
# grey, is a word, so that an image has 16 of them. The claim is about *online* learning, so there is one pass over
# the images, and the score is the mean loss of a linear classifier on each batch before it is learned from.


# %%
images, labels = data.load("digits").train


def words(images):
    """One row of zeros and ones for each image: which of the words that occur at all it holds."""
    levels = images[..., 0].astype(int) * 4 // 17  # digits have 17 greys
    patches = levels.reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 4)
    codes = patches @ [1, 4, 16, 64] + 256 * np.arange(16)
    found = np.unique(codes)
    rows = np.zeros((len(images), len(found)), np.float32)
    np.put_along_axis(rows, np.searchsorted(found, codes), 1.0, axis=1)
    return rows


sparse = words(images)
pixels = np.asarray(images, np.float32).reshape(len(images), -1) / 16
frequency = sparse.sum(axis=0)
print(
    f"{sparse.shape[1]} words; half of them occur in at most {np.median(frequency):.0f} of {len(images)} images, "
    f"{(frequency > 100).sum()} in more than 100."
)


# %%
def one_pass(inputs, name, rates, batch_size=8):
    """The mean loss before each update, and the last kernel, for each rate."""
    steps = len(inputs) // batch_size
    order = np.random.default_rng(0).permutation(len(inputs))[: steps * batch_size].reshape(steps, batch_size)
    first = inputs[order[0]], labels[order[0]]
    training = make_training(models.linear(outputs=10), losses.softmax_cross_entropy, METHODS[name].make, example=first)

    def at(rate):
        start = training.init(jax.random.key(0), {"learning_rate": rate})
        start = start._replace(params=jax.tree.map(jnp.zeros_like, start.params))
        batches = jnp.asarray(inputs)[order], jnp.asarray(labels)[order]
        end, info = jax.lax.scan(lambda s, batch: training.step(s, batch, {"learning_rate": rate}), start, batches)
        return info.loss.mean(), end.params["dense"]["kernel"]

    return jax.jit(jax.vmap(at))(rates)


rates = jnp.geomspace(1e-3, 10.0, 13)
online = {
    (features, name): one_pass(inputs, name, rates)
    for features, inputs in {"words": sparse, "pixels": pixels}.items()
    for name in ["sgd", "adagrad"]
}
best = {key: int(jnp.nanargmin(loss)) for key, (loss, _) in online.items()}
lowest = {key: float(online[key][0][best[key]]) for key in online}
sizes = {name: jnp.abs(online["words", name][1][best["words", name]]).mean(axis=1) for name in ["sgd", "adagrad"]}
slopes = {name: np.polyfit(np.log(frequency), np.log(size), 1)[0] for name, size in sizes.items()}

# %% [markdown]
# Does Adagrad learn faster on rare features (left), and what has each made of them, at its best rate (right)?

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
marks = {"sgd": "o", "adagrad": "s"}
for (features, name), (loss, _) in online.items():
    left.plot(rates, loss, marker=marks[name], ls="-" if features == "words" else ":", label=f"{name}, {features}")
left.set(xscale="log", xlabel="learning rate", ylabel="mean loss of one pass", ylim=(0, 2.5))
left.legend(frameon=False)
left.set_title("Who learns more in one pass?", fontsize="medium")
for name, size in sizes.items():
    right.plot(frequency, size, marks[name], ms=3, alpha=0.4, mec="none", label=f"{name}: slope {slopes[name]:.2f}")
right.set(xscale="log", yscale="log", xlabel="images that hold the word", ylabel="mean |weight| of the word")
right.legend(frameon=False, markerscale=2.5)
right.set_title("How large did the weights of rare words become?", fontsize="medium")
plt.show()

gains = {features: lowest[features, "sgd"] / lowest[features, "adagrad"] for features in ["words", "pixels"]}
print(f"Loss of gradient descent over Adagrad's: {gains['words']:.2f} on words, {gains['pixels']:.2f} on pixels.")
assert gains["words"] > max(1.2, gains["pixels"]), "Adagrad gains where features are rare"
assert slopes["adagrad"] < slopes["sgd"] / 2, "Adagrad lets rare words grow"

at_best = rates[best["words", "adagrad"], None]
without = float(one_pass(sparse[:, frequency > 1], "adagrad", at_best)[0][0])
print(f"Adagrad's loss without the {(frequency == 1).sum()} words of a single image: {without:.4f}, with them", end=" ")
print(f"{lowest['words', 'adagrad']:.4f}.")
assert abs(without - lowest["words", "adagrad"]) < 1e-3, "a word that does not come again changes nothing"

# %% [markdown]
# Under gradient descent a weight grows with the number of its gradients; under Adagrad hardly. A word of a single image
# (the dots at the left edge) cannot help within one pass: the image is scored before it is learned from. What counts
# are words of a few images, whose weight under Adagrad is already large when they come again.

# %% [markdown]
# ## After the overview
#
# Two ideas came after Ruder's overviews: *decoupling*, what AdamW does to the decay and schedule-free methods to the
# schedule, and *matrices*: a layer's kernel is no list of numbers, it is a map from inputs to outputs, and Muon,
# Shampoo and SOAP treat it so. The surface to check them on must then be one over a matrix: the loss of a linear
# classifier of real digits, whose images are shrunk to 3x3 pixels so that the kernel is 9x10.

# %%
tiny = jax.image.resize(images[..., 0] / 16.0, (len(images), 3, 3), "linear").reshape(-1, 9)


def digits_loss(kernel):
    return jnp.mean(losses.softmax_cross_entropy(tiny @ kernel, labels))


first_kernel = 0.1 * jax.random.normal(jax.random.key(0), (9, 10))
on_matrix = {"height": digits_loss, "start": first_kernel}

# %% [markdown]
# **AdamW** (Loshchilov and Hutter 2019, algorithm 2; Ruder 2017) shrinks the parameters beside Adam's step, not
# through its gradient: there the root would divide the decay too, and weights with large gradients would decay least.


# %%
def adamw(params, grads, rate, t, mu, nu, b1=0.9, b2=0.999, eps=1e-8, decay=0.01):
    mu, nu = b1 * mu + (1 - b1) * grads, b2 * nu + (1 - b2) * grads**2
    ratio = (mu / (1 - b1**t)) / (jnp.sqrt(nu / (1 - b2**t)) + eps)
    return params - rate * ratio - decay * params, mu, nu


beside(optimizers.adamw(learning_rate=0.05, weight_decay=0.01), adamw, zero, zero, rate=0.05)

# %% [markdown]
# **Lion** (Chen et al. 2023, algorithm 2) was found by a search over programs. Every parameter moves by the rate, up
# or down; two different shares of the same momentum decide which way and what is remembered.


# %%
def lion(params, grads, rate, t, mu, b1=0.9, b2=0.99):
    direction = jnp.sign(b1 * mu + (1 - b1) * grads)
    return params - rate * direction, b2 * mu + (1 - b2) * grads


beside(optimizers.lion(learning_rate=0.01), lion, zero, rate=0.01)

# %% [markdown]
# **Muon** (Jordan et al. 2024) replaces the momentum's matrix $U \Sigma V^\top$ by about $U V^\top$: it moves by the
# same length in all of its directions. Five steps of a polynomial in $X X^\top$ bring the singular values near 1 with
# matrix products alone.


# %%
def all_near_one(matrix, eps=1e-7):
    X = matrix / (jnp.linalg.norm(matrix) + eps)
    for _ in range(5):
        X = 3.4445 * X - 4.7750 * (X @ X.T) @ X + 2.0315 * (X @ X.T) @ (X @ X.T) @ X
    return X


def muon(params, grads, rate, t, mu, share=0.95):
    mu = share * mu + (1 - share) * grads
    ahead = share * mu + (1 - share) * grads
    return params - rate * max(1.0, 10 / 9) ** 0.5 * all_near_one(ahead), mu  # the kernel's outputs over its inputs


beside(optimizers.muon(learning_rate=0.02), muon, jnp.zeros((9, 10)), rate=0.02, **on_matrix)

# %% [markdown]
# **Shampoo** (Gupta, Koren and Singer 2018, algorithm 1) is Adagrad for matrices. It sums the products of gradients
# over each axis, and multiplies each axis by an inverse root: $\theta \leftarrow \theta - \eta\, L^{-1/4}\, g\,
# R^{-1/4}$.


# %%
def inverse_fourth_root(matrix, eps=1e-4):
    values, vectors = jnp.linalg.eigh(matrix)
    return (vectors * (jnp.maximum(values, 0) + eps) ** -0.25) @ vectors.T


def shampoo(params, grads, rate, t, L, R):
    L, R = L + grads @ grads.T, R + grads.T @ grads
    return params - rate * inverse_fourth_root(L) @ grads @ inverse_fourth_root(R), L, R


beside(
    optimizers.shampoo(learning_rate=0.1), shampoo, jnp.zeros((9, 9)), jnp.zeros((10, 10)), rate=0.1, **on_matrix
)  # fmt: skip

# %% [markdown]
# **SOAP** (Vyas et al. 2024, algorithms 3 and 4) turns the gradient into Shampoo's eigenbasis, runs Adam there, and
# turns the step back; the basis is renewed now and then (`precondition_frequency`). Between two renewals it is
# therefore Adam in a turned basis, which is what is checked: the basis is that of the first gradient, which itself
# moves nothing.


# %%
def soap(params, grads, rate, t, mu, nu, left, right):
    def moved():
        turned = left.T @ grads @ right
        new, *moments = adam(jnp.zeros_like(turned), turned, rate, t - 1, mu, nu, b1=0.95, b2=0.95)
        return params + left @ new @ right.T, *moments, left, right

    def basis_found():
        return params, mu, nu, jnp.linalg.eigh(grads @ grads.T)[1], jnp.linalg.eigh(grads.T @ grads)[1]

    return jax.lax.cond(t == 1, basis_found, moved)


with jax.enable_x64(True):  # a direction without any gradient would be rounding errors, divided by their own size
    nothing, wide = jnp.zeros((9, 10)), jnp.asarray(first_kernel, jnp.float64)
    beside(
        optimizers.soap(learning_rate=0.01, precondition_frequency=1000), soap, nothing, nothing, jnp.eye(9),
        jnp.eye(10), rate=0.01, height=digits_loss, start=wide,
    )  # fmt: skip

# %% [markdown]
# **Schedule-free** gradient descent (Defazio et al. 2024, equations (1) to (3)) has no falling rate. It averages all
# points $z$ so far, and takes gradients between the newest one and the average: $\theta = (1 - \beta_1) z +
# \beta_1\,\mathtt{average}$. What is evaluated is the average.


# %%
def schedule_free_sgd(params, grads, rate, t, z, average, b1=0.9):
    z = z - rate * grads
    average = average + (z - average) / (t + 1)
    return (1 - b1) * z + b1 * average, z, average


beside(optimizers.schedule_free_sgd(learning_rate=0.01), schedule_free_sgd, START, START, rate=0.01)

# %% [markdown]
# ### What does each do to the singular values of one gradient?
#
# The gradient of a hidden layer's kernel is nearly of low rank: a few directions have nearly all of its length. Below
# are the singular values of the first update of each method, divided by the largest, on the first kernel (64x64) of a
# perceptron on digits. (Shampoo's `eps` is small here, but not below the rounding errors of its sums, which it would
# raise to the size of all else.)

# %%
batch = (images[:512] / 16.0, labels[:512])
perceptron = make_training(
    models.mlp(outputs=10, widths=(64,)), losses.softmax_cross_entropy, optimizers.sgd, example=batch
)
params = perceptron.init(jax.random.key(0), {"learning_rate": 1.0}).params
state, _ = perceptron.step(perceptron.init(jax.random.key(0), {"learning_rate": 1.0}), batch, {"learning_rate": 1.0})
kernel_gradient = jax.tree.leaves(jax.tree.map(lambda before, after: before - after, params, state.params))
gradient = next(leaf for leaf in kernel_gradient if leaf.shape == (64, 64))

UPDATES = {
    "gradient (sgd)": optimizers.sgd(learning_rate=1.0),
    "sign (adam, lion)": optimizers.lion(learning_rate=1.0),
    "muon": optimizers.muon(learning_rate=1.0),
    "shampoo": optimizers.shampoo(learning_rate=1.0, eps=1e-6),
}
spectra = {}
for name, optimizer in UPDATES.items():
    updates, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
    values = jnp.linalg.svd(updates, compute_uv=False)
    spectra[name] = np.asarray(values / values[0])

figure, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
for (name, values), dashes in zip(spectra.items(), ["-", "--", "-.", ":"], strict=True):
    ax.plot(np.arange(1, 65), np.maximum(values, 1e-5), ls=dashes, label=name, lw=2)
ax.set(yscale="log", ylim=(1e-4, 1.5), xlabel="singular value, from the largest", ylabel="size, the largest being 1")
ax.set_title("In how many directions does one update move?", fontsize="medium")
ax.legend(frameon=False, loc="lower left")
plt.show()

wide = {name: int((values > 1 / 3).sum()) for name, values in spectra.items()}
print("Directions in which the update is at least a third of its largest:", wide)
assert min(wide["muon"], wide["shampoo"]) > 3 * wide["gradient (sgd)"], "matrix methods move in many directions"

# %% [markdown]
# Without memory Shampoo's update is $(gg^\top)^{-1/4}\, g\, (g^\top g)^{-1/4} = U V^\top$: what Muon iterates
# towards. The two differ in what they remember (Bernstein and Newhouse 2024, *Old optimizer, new norm*).

# %% [markdown]
# ### How much do they differ once their rates are tuned?
#
# All over the same rates, a perceptron with 64 hidden units, two seeds each; one compiled program for each method.

# %%
runs = tempfile.TemporaryDirectory()
BEYOND = ["momentum", "adam", "lion", "muon", "shampoo", "soap"]
space = Space(learning_rate=log_uniform(1e-4, 10.0), widths=choice([64]), optimizer=choice(BEYOND))
experiment = Experiment(
    data="fashion_mnist" if FULL else "digits", model="mlp", batch_size=64, epochs=20 if FULL else 8, objective="loss"
)
tuned = sweep(experiment, space.grid(learning_rate=11), replicates=2, directory=f"{runs.name}/beyond")

# %%
ax = results.plots.sensitivity(tuned, "learning_rate", by="optimizer")
ax.figure.set_size_inches(8, 4)
ax.set(yscale="linear", ylim=(0, 1), title="Which rates suit which method?")
plt.show()

scores = results.summary(tuned)
own_best = {
    name: scores.isel(trial=int(scores.score.where(scores.optimizer == name).argmin("trial"))) for name in BEYOND
}
lines = [
    f"| {name} | {trial.learning_rate.item():.3g} | {trial.score.item():.3f} | {trial.standard_error.item():.3f} |"
    for name, trial in sorted(own_best.items(), key=lambda pair: pair[1].score.item())
]
display(Markdown("| method | best rate | validation loss | standard error |\n|---|---|---|---|\n" + "\n".join(lines)))

best_losses = {name: trial.score.item() for name, trial in own_best.items()}
best_rates = {name: trial.learning_rate.item() for name, trial in own_best.items()}
assert max(best_losses.values()) < 0.5, "each method learns, at its own rate"
assert best_rates["lion"] < best_rates["shampoo"], "a sign's step is as long as the rate in every parameter"
assert 1e-4 < min(best_rates.values()) <= max(best_rates.values()) < 10, "at an end the range would be too small"
rate_ratio, loss_ratio = (max(own.values()) / min(own.values()) for own in (best_rates, best_losses))
display(Markdown(f"The best rates differ by {rate_ratio:.0f} times, the lowest losses by {loss_ratio:.1f} times."))
assert rate_ratio > 10 * loss_ratio

# %% [markdown]
# The methods differ in their rates by orders of magnitude, and less in what they reach there. A new method that
# is compared with an old one at the old one's default rate has been compared with nothing (Choi et al. 2019, *On
# empirical comparisons of optimizers*; Schmidt, Schneider and Hennig 2021, *Descending through a crowded valley*).
#
# ### Is a schedule needed?
#
# A falling rate must know when the training ends. The average of a schedule-free method does not, and should be at
# every moment what a falling rate reaches that was planned to end there. The cosine's length is a number like any
# other, so that runs of 1, 2, 4 and 8 epochs, each at seven rates, are lanes of one program; the data are
# Fashion-MNIST, the model is linear.

# %%
EPOCHS, BATCH = 8, 32
fashion = data.load("fashion_mnist" if FULL else "fashion_mnist_small")
an_epoch = -(-len(fashion.train[0]) // BATCH)
common = {"data": fashion, "model": "linear", "batch_size": BATCH, "epochs": EPOCHS}
some_rates = {"learning_rate": log_uniform(1e-3, 1.0)}

free = sweep(
    Experiment(optimizer="schedule_free_sgd", objective="average_loss", **common),
    Space(**some_rates).grid(7), directory=f"{runs.name}/free",
)  # fmt: skip
falling = sweep(
    Experiment(optimizer="sgd", schedule="cosine", objective="loss", **common),
    Space({"cosine.length": log_uniform(an_epoch, EPOCHS * an_epoch)}, **some_rates).grid(
        {"cosine.length": 4, "learning_rate": 7}
    ),
    directory=f"{runs.name}/falling",
)  # fmt: skip
constant = sweep(
    Experiment(optimizer="sgd", objective="loss", **common),
    Space(**some_rates).grid(7), directory=f"{runs.name}/constant",
)  # fmt: skip

# %%
lengths = np.unique(falling["cosine.length"])
ended = falling.valid_loss.isel(seed=0, epoch=-1)
reached = [float(ended.where(falling["cosine.length"] == length).min()) for length in lengths]


def last_best(run, metric):
    """The curve of the rate whose last value is the lowest, which must not be at an end of the range."""
    curves, rates = run[metric].isel(seed=0), run.learning_rate
    curve = curves.isel(trial=int(curves.isel(epoch=-1).argmin("trial")))
    assert float(rates.min()) < float(curve.learning_rate) < float(rates.max()), "the range is too small"
    return curve


average, steady = last_best(free, "valid_average_loss"), last_best(constant, "valid_loss")
last_best(falling, "valid_loss")  # its best rate is not at an end, either
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.plot(steady.epoch, steady, "s:", label="sgd, constant rate")
ax.plot(average.epoch, average, "o-", label="schedule_free_sgd, its average")
ax.plot(lengths / an_epoch, reached, "D", ms=9, mfc="none", color="black", label="sgd, cosine that ends here")
ax.set(xlabel="epochs", ylabel="validation loss")
ax.set_title("Is one schedule-free run as good as a schedule for every length?", fontsize="medium")
ax.legend(frameon=False)
plt.show()

at_the_end = {"constant": steady.values[-1], "schedule-free": average.values[-1], "cosine": reached[-1]}
print("validation loss after", EPOCHS, "epochs:", {name: round(float(value), 4) for name, value in at_the_end.items()})
assert at_the_end["schedule-free"] < at_the_end["constant"] * 1.01, "the average is no worse than a constant rate"
assert at_the_end["schedule-free"] < at_the_end["cosine"] * 1.03, "and nearly as good as a schedule"

# %% [markdown]
# ## Exercises
#
# **1.** For curvatures between $\lambda = 0.01$ and $1$, momentum is fastest at $\eta = \bigl(2 / (1 +
# \sqrt{0.01})\bigr)^2$ and $\gamma = \bigl((\sqrt\kappa - 1)/(\sqrt\kappa + 1)\bigr)^2$, gradient descent at $\eta =
# 2/(1 + 0.01)$. By how much does each shrink the distance to the bottom of the long valley in a step? How many steps
# does a factor of a million take?
#
# <details><summary>Solution 1</summary>
#
# ```python
# from jaxopt_intro.surfaces import long_valley
#
# start = jnp.array([-9.0, 1.2])
# plain = walked_by(optimizers.sgd(learning_rate=2 / 1.01), long_valley, start, 201)
# heavy = walked_by(optimizers.momentum(learning_rate=(2 / 1.1) ** 2, momentum=(9 / 11) ** 2), long_valley, start, 201)
# for name, points, predicted in [("sgd", plain, 99 / 101), ("momentum", heavy, 9 / 11)]:
#     distance = jnp.linalg.norm(points, axis=1)
#     factor = float((distance[200] / distance[100]) ** 0.01)
#     print(f"{name}: {factor:.4f} a step, predicted {predicted:.4f}; {np.log(1e-6) / np.log(factor):.0f} steps")
#     assert abs(factor - predicted) < 0.01
# ```
#
# Momentum is slightly slower than its bound at first: both roots of its recurrence are equal, so the distance falls
# as $t\,r^t$.
# </details>
#
# **2.** Reddi, Kale and Kumar's theorem 1: on $[-1, 1]$ minimize the sum of $f_t(x) = 3x$ in every third step and
# $-x$ in the others, so that $-1$ is best. Adam with $\beta_1 = 0$, $\beta_2 = 1/(1 + 3^2)$ and a rate of $0.5/\sqrt
# t$ goes to $+1$. Why? Does AMSGrad?
#
# <details><summary>Solution 2</summary>
#
# The large gradient, 3, is divided by about its own size; by the next step its square is nearly forgotten, so that
# the two gradients of $-1$ count for more than it. AMSGrad still divides by it.
#
# ```python
# def adversary(make, steps=3000):
#     def step(carry, t):
#         x, state = carry
#         optimizer = make(learning_rate=0.5 / jnp.sqrt(t), b1=0.0, b2=0.1)
#         updates, state = optimizer.update(jnp.where(t % 3 == 1, 3.0, -1.0), state, x)
#         return (jnp.clip(x + updates, -1.0, 1.0), state), x
#
#     start = jnp.zeros(())
#     first = start, make(learning_rate=0.5, b1=0.0, b2=0.1).init(start)
#     return jax.lax.scan(step, first, jnp.arange(1, steps + 1))[1]
#
# ends = {name: float(adversary(METHODS[name].make)[-300:].mean()) for name in ["adam", "amsgrad"]}
# print(ends)
# assert ends["adam"] > 0.5 and ends["amsgrad"] < -0.5
# ```
# </details>
#
# **3.** Adagrad's sum never falls. If a gradient stays at 1, how far does Adagrad get in $n$ steps at rate $\eta$?
# And RMSprop?
#
# <details><summary>Solution 3</summary>
#
# Step $t$ is $\eta/\sqrt t$, and the sum of the first $n$ is about $2\eta\sqrt n$; RMSprop's steps go to $\eta$, so
# it gets about $\eta n$.
#
# ```python
# slope = jnp.sum
# optimizers_here = {name: METHODS[name].make(learning_rate=0.1) for name in ["adagrad", "rmsprop"]}
# far = {name: -walked_by(method, slope, jnp.zeros(1), 401)[-1, 0] for name, method in optimizers_here.items()}
# print(far, 2 * 0.1 * 400**0.5, 0.1 * 400)
# assert abs(far["adagrad"] - 2 * 0.1 * 400**0.5) < 0.2 and abs(far["rmsprop"] - 0.1 * 400) < 2
# ```
# </details>
#
# **4.** What do Muon's five steps make of a singular value $\sigma$ between 0.001 and 1? From which size on does it
# end above 0.5?
#
# <details><summary>Solution 4</summary>
#
# Each step maps $\sigma$ to $3.4445\sigma - 4.7750\sigma^3 + 2.0315\sigma^5$: small values grow by 3.4 times, large
# ones stay near 1 without settling there.
#
# ```python
# sigma = np.geomspace(1e-3, 1.0, 200)
# after = sigma
# for _ in range(5):
#     after = 3.4445 * after - 4.7750 * after**3 + 2.0315 * after**5
# large = sigma[after > 0.5].min()
# print(f"above 0.5 from {large:.4f} on; then between {after[sigma >= large].min():.2f} and {after.max():.2f}")
# assert large < 0.01 and after.max() < 1.3
# ```
# </details>
