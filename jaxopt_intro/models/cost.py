"""What a model costs: its parameters, and the floating point operations of its products."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params

from jaxopt_intro.models.layers.geometry import Geometry
from jaxopt_intro.models.layers.planning import equations
from jaxopt_intro.typing import Hparams, Model, PyTree


class Cost(NamedTuple):
    """What a model costs.

    Attributes:
        parameters: How many numbers are trained.
        flop: Multiplications and additions of the matrix products and convolutions of a forward pass, of one example.
            A training step takes about three times as many.
    """

    parameters: int
    flop: int


def cost(model: Model, example: PyTree, hparams: Hparams | None = None) -> Cost:
    """Returns what a model costs for inputs of a shape; nothing is computed.

    Args:
        model: The model.
        example: A batch of inputs, arrays or shapes; uint8 images are counted as the floats that a step makes of them.
        hparams: Its hyperparameters, if the model needs them.

    Returns:
        Its parameters, and the floating point operations of one example.

    Examples:
        >>> from jaxopt_intro import models
        >>> cost(models.linear(outputs=10), jax.numpy.ones((1, 28, 28)))
        Cost(parameters=7850, flop=15680)
    """

    def one_of(x: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((1, *x.shape[1:]), jnp.float32 if x.dtype == jnp.uint8 else x.dtype)

    one = jax.tree.map(one_of, example)
    key, numbers = jax.eval_shape(lambda: jax.random.key(0)), hparams or {}
    params, state = jax.eval_shape(lambda k, x: model.init(k, x, numbers), key, one)
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))

    def forward(params: PyTree, state: PyTree, x: PyTree) -> PyTree:
        return model.apply(params, state, x, train=False, key=None, hparams=numbers)[0]

    return Cost(parameters, flop(forward, params, state, one))


def flop(function: Callable[..., Any], *args: Any) -> int:
    """Returns the multiplications and additions of a function's matrix products and convolutions.

    Args:
        function: Of arrays. A loop of unknown length counts once.
        *args: Arrays or shapes.

    Examples:
        >>> flop(lambda a, b: a @ b, jax.numpy.ones((2, 3)), jax.numpy.ones((3, 5)))
        60
    """
    return _of(jax.make_jaxpr(function)(*args))


def operations(equation: Any) -> int:
    """Returns the multiplications and additions of one equation of a jaxpr: 0 unless it is a product or convolution.

    Examples:
        >>> program = jax.make_jaxpr(lambda a, b: a @ b)(jax.numpy.ones((2, 3)), jax.numpy.ones((3, 5)))
        >>> [operations(equation) for equation in program.eqns]
        [60]
    """
    params: Any = equation.params
    shapes: list[Any] = [getattr(v.aval, "shape", ()) for v in (*equation.invars, *equation.outvars)]
    if equation.primitive.name == "dot_general":
        contracted = params["dimension_numbers"][0][0]
        return 2 * math.prod(shapes[-1]) * math.prod(shapes[0][axis] for axis in contracted)
    if equation.primitive.name == "conv_general_dilated":
        features = params["dimension_numbers"].rhs_spec[0]
        return 2 * math.prod(shapes[-1]) * math.prod(s for i, s in enumerate(shapes[1]) if i != features)
    return params["geometry"].flop if isinstance(params.get("geometry"), Geometry) else 0


def products(function: Callable[..., Any], *args: Any) -> list[tuple[Any, ...]]:
    """Returns the dtypes of the two operands of each matrix product and convolution of floats in a function.

    Args:
        function: Of arrays.
        *args: Arrays or shapes.

    Examples:
        >>> products(lambda a, b: a @ b, jax.numpy.ones((2, 3)), jax.numpy.ones((3, 5)))
        [(dtype('float32'), dtype('float32'))]
    """
    found = [e for e in equations(jax.make_jaxpr(function)(*args)) if _is_product(e)]
    pairs = [tuple(v.aval.dtype for v in equation.invars[:2]) for equation in found]
    return [pair for pair in pairs if jax.numpy.issubdtype(pair[0], jax.numpy.floating)]


def _is_product(equation: Any) -> bool:
    named = equation.primitive.name in ("dot_general", "conv_general_dilated")
    return named or isinstance(equation.params.get("geometry"), Geometry)


def _of(program: Any) -> int:
    total = 0
    for equation in getattr(program, "jaxpr", program).eqns:
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        total += operations(equation) + times * sum(_of(inner) for inner in jaxprs_in_params(equation.params))
    return total
