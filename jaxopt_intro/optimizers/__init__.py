"""Optimizers in optax's protocol: every number may be traced, moments are at least float32."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import optax

from jaxopt_intro import routing
from jaxopt_intro.checks import Interval, ranges
from jaxopt_intro.distributions import Distribution, log_uniform
from jaxopt_intro.optimizers.adabound import adabound, adabound_metric, scale_by_adabound
from jaxopt_intro.optimizers.adadelta import adadelta, adadelta_metric, scale_by_adadelta
from jaxopt_intro.optimizers.adagrad import adagrad, adagrad_metric, scale_by_adagrad
from jaxopt_intro.optimizers.adam import adam, adam_metric, scale_by_adam
from jaxopt_intro.optimizers.adamax import adamax, adamax_metric, scale_by_adamax
from jaxopt_intro.optimizers.adamw import adamw, add_decay
from jaxopt_intro.optimizers.adan import adan, adan_metric, scale_by_adan
from jaxopt_intro.optimizers.addsign import addsign, addsign_metric, scale_by_addsign
from jaxopt_intro.optimizers.aggmo import aggmo, aggmo_metric, scale_by_aggmo
from jaxopt_intro.optimizers.amsgrad import amsgrad, amsgrad_metric, scale_by_amsgrad
from jaxopt_intro.optimizers.asgd import asgd, asgd_average, asgd_metric
from jaxopt_intro.optimizers.hyperparameters import SEARCH
from jaxopt_intro.optimizers.momentum import momentum, momentum_metric, scale_by_momentum
from jaxopt_intro.optimizers.nadam import nadam, nadam_metric, scale_by_nadam
from jaxopt_intro.optimizers.nesterov import nesterov, scale_by_nesterov
from jaxopt_intro.optimizers.powersign import powersign, powersign_metric, scale_by_powersign
from jaxopt_intro.optimizers.proximal import projected, proximal
from jaxopt_intro.optimizers.qhadam import qhadam, scale_by_qhadam
from jaxopt_intro.optimizers.qhm import qhm, scale_by_qhm
from jaxopt_intro.optimizers.radam import radam, radam_metric, scale_by_radam
from jaxopt_intro.optimizers.rmsprop import rmsprop, rmsprop_metric, scale_by_rmsprop
from jaxopt_intro.optimizers.rprop import rprop, scale_by_rprop
from jaxopt_intro.optimizers.sgd import descend, scale_by_rate, sgd, sgd_metric
from jaxopt_intro.optimizers.sgdw import sgdw
from jaxopt_intro.optimizers.yogi import scale_by_yogi, yogi, yogi_metric


class Method(NamedTuple):
    """One row of the table of methods.

    Attributes:
        make: `(*, learning_rate, ...) -> optax.GradientTransformationExtraArgs`.
        learning_rates: Where to look for a good rate, and on which scale.
        reference: Paper and equation.
        metric: `(state, **arguments of make) -> scalar, or tree like params`, positive: what the method divides its
            learning rate by. Under a constant gradient the update tends to `-learning_rate / metric * gradient`, so it
            is the metric of a proximal step. None where there is no such thing, as for the sign of a gradient.
        piecewise: The numbers whose derivatives are pathwise: they decide a maximum, a sign or a branch.
        counts: The numbers that have no derivative.
        modes: In which modes an update may be differentiated by its numbers.
        needs: What an update needs beside gradients and state, by keyword: `params`, `value`, ….
    """

    make: Callable[..., optax.GradientTransformationExtraArgs]
    learning_rates: Distribution
    reference: str
    metric: Callable[..., Any] | None
    piecewise: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    modes: tuple[str, ...] = ("forward", "reverse")
    needs: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of its numbers, in the order of its signature.

        Examples:
            >>> METHODS["adam"].numbers
            ('learning_rate', 'b1', 'b2', 'eps')
        """
        return routing.numbers(self.make, constructs=True)

    @property
    def defaults(self) -> dict[str, float]:
        """The defaults of those numbers that have one.

        Examples:
            >>> METHODS["adam"].defaults
            {'b1': 0.9, 'b2': 0.999, 'eps': 1e-08}
        """
        takes = routing.parameters(self.make)
        return {n: takes[n].default for n in self.numbers if takes[n].default is not takes[n].empty}

    @property
    def domain(self) -> dict[str, Interval]:
        """Where each number is legal.

        Examples:
            >>> {name: str(interval) for name, interval in METHODS["momentum"].domain.items()}
            {'learning_rate': 'of at least 0', 'momentum': 'in [0, 1)'}
        """
        legal = ranges(self.make)
        return {n: legal[n] for n in self.numbers}

    @property
    def search(self) -> dict[str, Distribution]:
        """Where to look for a good value of each number, and on which scale.

        Examples:
            >>> METHODS["sgd"].search
            {'learning_rate': Distribution(kind='log_uniform', low=0.001, high=1.0)}
        """
        return {n: self.learning_rates if n == "learning_rate" else SEARCH[n] for n in self.numbers}

    @property
    def kinds(self) -> dict[str, str]:
        """What each number is to a derivative: "smooth", "piecewise" or "count".

        Examples:
            >>> METHODS["adamax"].kinds
            {'learning_rate': 'smooth', 'b1': 'smooth', 'b2': 'piecewise', 'eps': 'smooth'}
        """
        kinds = {**dict.fromkeys(self.piecewise, "piecewise"), **dict.fromkeys(self.counts, "count")}
        return {n: kinds.get(n, "smooth") for n in self.numbers}


METHODS = {
    "sgd": Method(
        sgd, log_uniform(1e-3, 1.0), "Robbins and Monro 1951, A stochastic approximation method, equation (6)",
        sgd_metric,
    ),
    "momentum": Method(
        momentum, log_uniform(1e-4, 0.1), "Polyak 1964, Some methods of speeding up the convergence, equation (9)",
        momentum_metric,
    ),
    "nesterov": Method(
        nesterov, log_uniform(1e-4, 0.1),
        "Nesterov 1983; Sutskever et al. 2013, On the importance of initialization and momentum, equations (3), (4)",
        momentum_metric,
    ),
    "sgdw": Method(
        sgdw, log_uniform(1e-4, 0.1), "Loshchilov and Hutter 2019, Decoupled weight decay regularization, algorithm 1",
        momentum_metric, needs=("params",),
    ),
    "adagrad": Method(
        adagrad, log_uniform(1e-3, 1.0),
        "Duchi, Hazan and Singer 2011, Adaptive subgradient methods, algorithm in figure 1", adagrad_metric,
    ),
    "adadelta": Method(
        adadelta, log_uniform(0.1, 10.0), "Zeiler 2012, ADADELTA: an adaptive learning rate method, algorithm 1",
        adadelta_metric,
    ),
    "rmsprop": Method(
        rmsprop, log_uniform(1e-5, 1e-2), "Hinton, Srivastava and Swersky 2012, lecture 6e, slide 29", rmsprop_metric,
    ),
    "adam": Method(adam, log_uniform(1e-5, 1e-1), "Kingma and Ba 2015, Adam, algorithm 1", adam_metric),
    "adamax": Method(
        adamax, log_uniform(1e-4, 1e-1), "Kingma and Ba 2015, Adam, algorithm 2", adamax_metric, piecewise=("b2",),
    ),
    "nadam": Method(
        nadam, log_uniform(1e-5, 1e-1), "Dozat 2016, Incorporating Nesterov momentum into Adam, algorithm Nadam",
        nadam_metric,
    ),
    "amsgrad": Method(
        amsgrad, log_uniform(1e-5, 1e-1),
        "Reddi, Kale and Kumar 2018, On the convergence of Adam and beyond, algorithm 2", amsgrad_metric,
        piecewise=("b2",),
    ),
    "adamw": Method(
        adamw, log_uniform(1e-5, 1e-1),
        "Loshchilov and Hutter 2019, Decoupled weight decay regularization, algorithm 2", adam_metric,
        needs=("params",),
    ),
    "rprop": Method(
        rprop, log_uniform(1e-4, 0.1),
        "Riedmiller and Braun 1993, A direct adaptive method: the RPROP algorithm, equations (4) to (7)", None,
        piecewise=("learning_rate", "eta_minus", "eta_plus", "smallest", "largest"),
    ),
    "radam": Method(
        radam, log_uniform(1e-5, 1e-1),
        "Liu et al. 2020, On the variance of the adaptive learning rate and beyond, algorithm 2", radam_metric,
        piecewise=("b2",),
    ),
    "qhm": Method(
        qhm, log_uniform(1e-3, 1.0),
        "Ma and Yarats 2019, Quasi-hyperbolic momentum and Adam for deep learning, equations (3) and (4)", sgd_metric,
    ),
    "qhadam": Method(
        qhadam, log_uniform(1e-5, 1e-1),
        "Ma and Yarats 2019, Quasi-hyperbolic momentum and Adam for deep learning, QHAdam algorithm in section 4",
        adam_metric,
    ),
    "aggmo": Method(
        aggmo, log_uniform(1e-4, 0.3),
        "Lucas et al. 2019, Aggregated momentum: stability through passive damping, equation (2)", aggmo_metric,
    ),
    "powersign": Method(
        powersign, log_uniform(1e-3, 0.3),
        "Bello et al. 2017, Neural optimizer search with reinforcement learning, equation of PowerSign in section 4.4",
        powersign_metric, piecewise=("b1",),
    ),
    "addsign": Method(
        addsign, log_uniform(1e-3, 0.3),
        "Bello et al. 2017, Neural optimizer search with reinforcement learning, equation of AddSign in section 4.4",
        addsign_metric, piecewise=("b1",),
    ),
    "yogi": Method(
        yogi, log_uniform(1e-4, 1e-1), "Zaheer et al. 2018, Adaptive methods for nonconvex optimization, algorithm 2",
        yogi_metric, piecewise=("b2",),
    ),
    "adabound": Method(
        adabound, log_uniform(1e-5, 1e-1),
        "Luo et al. 2019, Adaptive gradient methods with dynamic bound of learning rate, algorithm 2",
        adabound_metric, piecewise=("eps", "final_factor", "gamma", "b2"),
    ),
    "asgd": Method(
        asgd, log_uniform(1e-3, 1.0),
        "Polyak and Juditsky 1992, Acceleration of stochastic approximation by averaging, algorithm (2)", asgd_metric,
        piecewise=("average_from",), needs=("params",),
    ),
    "adan": Method(
        adan, log_uniform(1e-4, 1e-1),
        "Xie et al. 2022, Adan: adaptive Nesterov momentum algorithm for faster optimizing deep models, algorithm 1",
        adan_metric, needs=("params",),
    ),
}  # fmt: skip


def metric_of(make: Callable[..., optax.GradientTransformation]) -> Callable[..., Any] | None:
    """Returns the metric of a method of the table, with its bound options; None for any other function.

    Args:
        make: A constructor of optimizers, or a `functools.partial` of one.

    Returns:
        `(state, **numbers) -> scalar, or tree like params`, as in `Method`.

    Raises:
        ValueError: The method has none.

    Examples:
        >>> metric_of(momentum)((), momentum=0.75)
        0.25
    """
    bound: dict[str, Any] = {}
    while isinstance(make, functools.partial):
        make, bound = make.func, {**make.keywords, **bound}
    method = next((method for method in METHODS.values() if method.make is make), None)
    if method is None:
        return None
    if method.metric is None:
        have = ", ".join(name for name, row in METHODS.items() if row.metric is not None)
        raise ValueError(
            f"optimizer {method.make.__name__}: got a proximal step, but its own steps are not as long as the "
            f"gradient; expected one of {have}. Choose one of them, or a penalty in the proximal step's place."
        )
    return functools.partial(method.metric, **bound)


__all__ = [
    "METHODS", "SEARCH", "Method", "adabound", "adabound_metric", "adadelta", "adadelta_metric", "adagrad",
    "adagrad_metric", "adam", "adam_metric", "adamax", "adamax_metric", "adamw", "adan", "adan_metric", "add_decay",
    "addsign", "addsign_metric", "aggmo", "aggmo_metric", "amsgrad", "amsgrad_metric", "asgd", "asgd_average",
    "asgd_metric", "descend", "metric_of", "momentum", "momentum_metric", "nadam", "nadam_metric", "nesterov", "powersign",
    "powersign_metric", "projected", "proximal", "qhadam", "qhm", "radam", "radam_metric", "rmsprop", "rmsprop_metric",
    "rprop", "scale_by_adabound", "scale_by_adadelta", "scale_by_adagrad", "scale_by_adam", "scale_by_adamax",
    "scale_by_adan", "scale_by_addsign", "scale_by_aggmo", "scale_by_amsgrad", "scale_by_momentum", "scale_by_nadam",
    "scale_by_nesterov", "scale_by_powersign", "scale_by_qhadam", "scale_by_qhm", "scale_by_radam", "scale_by_rate",
    "scale_by_rmsprop", "scale_by_rprop", "scale_by_yogi", "sgd", "sgd_metric", "sgdw", "yogi", "yogi_metric",
]  # fmt: skip
