"""Which way each convolution of a program is computed: measured once for each shape and device, and remembered.

A layer cannot time itself: while a program is traced, nothing runs. So a plan is made before, of the convolutions that
are found in the program, each measured inside a loop, as it will run, and put in force where the program is traced.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

from jaxopt_intro.checks import known_name
from jaxopt_intro.models.layers import lowering, remembered
from jaxopt_intro.models.layers.geometry import OPERANDS, WORDS, Geometry
from jaxopt_intro.models.layers.in_force import using
from jaxopt_intro.typing import Array, Batch, Model, PyTree

SECONDS = 10.0
RUN_SECONDS = 0.02
TURNS = 32
HOPELESS = 4.0


class Choice(NamedTuple):
    """How one convolution, or a gradient of one, is computed.

    Attributes:
        what: Which, and its shapes and dtype, in words; the key by which it is known.
        name: The way.
        why: "measured", "remembered", "forced", or why it was not measured.
        microseconds: What each way took that was measured.
        buffer: The bytes of patches that the way holds at once.
    """

    what: str
    name: str
    why: str
    microseconds: tuple[tuple[str, float], ...]
    buffer: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the convolutions of a program are computed.

    Attributes:
        choices: One for each that is in the fast set.
        others: Those that are XLA's own, since they are outside of it, in words.
    """

    choices: tuple[Choice, ...] = ()
    others: tuple[str, ...] = ()

    def lowering(self, wanted: str, geometry: Geometry, dtype: Any) -> str | None:
        """Returns the way for an array of a geometry, or None where the plan does not know it."""
        return self._names.get(key(wanted, geometry, dtype))

    def joined(self, other: Plan) -> Plan:
        """Returns a plan of what either knows; where both do, this one decides."""
        new = tuple(choice for choice in other.choices if choice.what not in self._names)
        return Plan(self.choices + new, tuple(dict.fromkeys((*self.others, *other.others))))

    @functools.cached_property
    def _names(self) -> dict[str, str]:
        return {choice.what: choice.name for choice in self.choices}

    def __str__(self) -> str:
        lines = [f"{c.what}: {c.name} ({_said(c)})" for c in self.choices]
        return "\n".join([*lines, *(f"{other}: XLA's own" for other in self.others)]) or "no convolutions"

    def __repr__(self) -> str:
        return f"Plan({len(self.choices)} choices)"


def planned(model: Model, plan: Plan) -> Model:
    """Returns the model with a plan in force wherever it is traced.

    Args:
        model: The model.
        plan: Of `plan`, or of `plan_for`.

    Raises:
        ValueError: The model or the plan is none.
    """
    _model(model, "planned")
    if not isinstance(plan, Plan):
        raise ValueError(
            f"planned: got a plan of type {type(plan).__name__}; expected one of layers.plan(model, batch, width). "
            'Ways are forced there: force={"kernel": "im2col"}.'
        )

    def within(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with using(plan):
                return function(*args, **kwargs)

        return call

    return model._replace(init=within(model.init), apply=within(model.apply))


def plan(model: Model, batch: Batch | PyTree, width: int = 1, **options: Any) -> Plan:
    """Measures how the convolutions of a population of a model are best computed, with their gradients.

    Each is measured inside a loop, at the shapes that it has in `width` members on one batch, once for each shape and
    device: the figures are kept in the cache folder. Put it in force with `planned(model, plan)`, or with
    `using(plan)` around what is traced. A sweep makes its own.

    Args:
        model: The model, whose convolutions are `layers.conv`.
        batch: Inputs and targets, or inputs alone; only shapes count.
        width: How many members, which share the batch.
        **options: Those of `plan_for`.

    Returns:
        The plan; printed, it says what was chosen, and why.

    Raises:
        ValueError: A forced way is not known, or the model is none, or the width or the batch is empty.

    Examples:
        >>> from jaxopt_intro import models
        >>> found = plan(models.convnet(outputs=3, channels=4), jnp.ones((2, 8, 8)), force={"outputs": "rows"})
        >>> [choice.name for choice in found.choices if choice.what.startswith("convolution")]
        ['rows']
    """
    _model(model, "plan")
    if not isinstance(width, int) or width < 1:
        raise ValueError(f"plan: got width={width!r}; expected a whole number of at least 1.")
    inputs = batch[0] if isinstance(batch, tuple) else batch
    if 0 in {len(leaf) for leaf in jax.tree.leaves(inputs)}:
        raise ValueError("plan: got a batch of no examples; expected at least one, since shapes decide.")

    def loss(params: PyTree, state: PyTree, x: PyTree, key: Array) -> Array:
        outputs, _ = model.apply(params, state, x, train=True, key=key, hparams={})
        return sum((jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(outputs)), jnp.zeros(()))

    def gradients(keys: Array, x: PyTree) -> PyTree:
        params, state = jax.vmap(lambda key: model.init(key, x, {}))(keys)
        if width == 1:
            one = jax.tree.map(lambda leaf: leaf[0], (params, state))
            return jax.grad(loss)(*one, x, keys[0])
        return jax.vmap(jax.grad(loss), (0, 0, None, 0))(params, state, x, keys)

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), width))
    return plan_for(gradients, keys, jax.tree.map(_shape_of, inputs), **options)


def _model(model: Any, function: str) -> None:
    if not isinstance(model, Model):
        name = getattr(model, "__name__", type(model).__name__)
        raise ValueError(
            f"{function}: got {name}; expected a Model, such as models.resnet(outputs=10). Of a Flax module: "
            "models.from_nnx(Net) or models.from_linen(Net())."
        )


def plan_for(
    function: Callable[..., Any],
    *args: Any,
    known: Mapping[str, str] | None = None,
    force: Mapping[str, str] | None = None,
    seconds: float | Callable[[int], float] = SECONDS,
    memory: int | None = None,
    device: Any = None,
    notify: Callable[[str], None] = lambda text: None,
) -> Plan:
    """Measures how the convolutions in a function are best computed.

    Args:
        function: A function of arrays, traced with the shapes of `args`; nothing of it runs.
        *args: Arrays or shapes.
        known: Ways that are already decided, by `Choice.what`.
        force: The way of every "outputs", "images" or "kernel" that can have it.
        seconds: Nothing is measured any more once so many have gone by; what is remembered is used in any case.
            Or a function of the operations of all convolutions, of one turn of every loop.
        memory: The bytes that patches may take; a way that needs more is not tried.
        device: Where to measure; None takes JAX's default.
        notify: Told in words what is going on.

    Returns:
        The plan.

    Raises:
        ValueError: A forced way is not known.
    """
    check_ways(force or {})
    device = device or next(iter(jnp.zeros(()).devices()))
    # By another name: of the function itself JAX would remember a trace without the plan.
    found, others = _found(jax.make_jaxpr(functools.partial(function))(*args))
    figures = remembered.read(device) if found else {}
    seconds = seconds(sum(geometry.flop for _, geometry, _, _ in found)) if callable(seconds) else seconds
    until = time.perf_counter() + seconds
    choices, new = [], {}
    found.sort(key=lambda one: -one[1].flop)  # where time is short, it goes to those that count
    for wanted, geometry, dtype, precision in found:
        what = key(wanted, geometry, dtype)
        names = _possible(wanted, geometry, dtype, device, memory)
        asked = (force or {}).get(wanted)
        times = dict(figures.get(what, {}))
        if asked in lowering.candidates(wanted, geometry):
            name, why = asked, "forced"
        elif what in (known or {}):
            name, why = (known or {})[what], "decided before"
        elif set(names) <= set(times):
            name, why = min(names, key=lambda n: times[n]), "remembered"
        elif len(names) == 1 or time.perf_counter() > until:
            name, why = names[0], "no other fits" if len(names) == 1 else "not worth measuring"
        else:
            notify(f"measuring {what}")
            times = _measured(wanted, names, geometry, dtype, precision, device)
            name, why, new[what] = min(names, key=lambda n: times[n]), "measured", times
        shown = tuple((n, round(times[n], 1)) for n in sorted(times, key=lambda n: times[n]) if np.isfinite(times[n]))
        choices.append(Choice(what, name, why, shown, lowering.buffer(wanted, name, geometry, dtype)))
    remembered.write(device, new)
    return Plan(tuple(choices), tuple(others))


def check_ways(ways: Mapping[str, str]) -> None:
    """Refuses names that are no arrays of a convolution, and ways that are not known.

    Raises:
        ValueError: Says which are.

    Examples:
        >>> check_ways({"kernel": "im2co"})
        Traceback (most recent call last):
        ...
        ValueError: unknown way to compute the kernel of a convolution 'im2co'. Did you mean ... Known: ...
    """
    for wanted, name in ways.items():
        known_name(wanted, lowering.WAYS, "array of a convolution")
        plain = name.removesuffix(lowering.IN_TURN)
        known_name(plain, lowering.WAYS[wanted], f"way to compute the {wanted} of a convolution")


def key(wanted: str, geometry: Geometry, dtype: Any) -> str:
    """Returns the words by which a convolution, or a gradient of one, is known.

    Examples:
        >>> key("kernel", Geometry(2, (7,), 3, (3,), 5, (1,), ((1, 1),), (1,), members=4), "float32")
        'kernel gradient of 2x7x3 * 3x5, padding 1+1, 4 members, float32'
    """
    return f"{WORDS[wanted]} of {geometry}, {jnp.dtype(dtype).name}"


def _said(choice: Choice) -> str:
    times = ", ".join(f"{name} {time:.4g} us" for name, time in choice.microseconds[:4])
    held = f", {choice.buffer / 2**20:.3g} MiB of patches" if choice.buffer else ""
    return choice.why + (f": {times}" if times else "") + held


def _shape_of(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x))


def _found(program: Any) -> tuple[list[tuple[str, Geometry, Any, Any]], list[str]]:
    """The convolutions of a program that are ours, each once, and those that are not, in words."""
    ours: dict[str, tuple[str, Geometry, Any, Any]] = {}
    others: dict[str, None] = {}
    by_name = {word.replace(" ", "_"): wanted for wanted, word in WORDS.items()}
    for equation in equations(program):
        name, params = equation.primitive.name, equation.params
        if name in by_name and isinstance(params.get("geometry"), Geometry):
            one = (by_name[name], params["geometry"], equation.invars[0].aval.dtype, params["precision"])
            ours[key(*one[:3])] = one
        elif name == "conv_general_dilated":
            shapes = " * ".join("x".join(map(str, v.aval.shape)) for v in equation.invars)
            others[f"convolution of {shapes}, {equation.invars[0].aval.dtype}"] = None
    return list(ours.values()), list(others)


def equations(program: Any) -> Iterator[Any]:
    """Yields the equations of a program, and of those inside them.

    Args:
        program: A jaxpr, closed or not.

    Examples:
        >>> [e.primitive.name for e in equations(jax.make_jaxpr(jax.jit(jnp.sin))(1.0))]
        ['jit', 'sin']
    """
    for equation in getattr(program, "jaxpr", program).eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


def _possible(wanted: str, geometry: Geometry, dtype: Any, device: Any, memory: int | None) -> list[str]:
    """The ways worth trying, the usual one first."""
    usual = lowering.usual(wanted, geometry, device.platform)
    names = lowering.candidates(wanted, geometry, device.platform)
    fits = [n for n in names if memory is None or lowering.buffer(wanted, n, geometry, dtype) <= memory]
    return [usual, *(n for n in fits if n != usual)]


def _measured(
    wanted: str, names: Sequence[str], geometry: Geometry, dtype: Any, precision: Any, device: Any
) -> dict[str, float]:
    """Microseconds of each way, inside a loop; one that fails, of memory or since XLA has it not, takes for ever."""
    random = np.random.default_rng(0)
    shapes = [geometry.shape(array) for array in OPERANDS[wanted]]
    operands = [jax.device_put(random.standard_normal(s, np.float32).astype(dtype), device) for s in shapes]

    def ready(name: str) -> Callable[[int], float] | None:
        way = functools.partial(lowering.compute, wanted, name, geometry=geometry, precision=precision, dtype=dtype)
        with contextlib.suppress(jax.errors.JaxRuntimeError, NotImplementedError):
            return in_loop(way, *operands)
        return None

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:  # XLA compiles on a thread each
        programs = dict(zip(names, pool.map(ready, names), strict=True))
    times: dict[str, float] = {}
    for name, program in programs.items():
        times[name] = float("inf")
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            if program is not None:
                times[name] = 1e6 * seconds_of(program, worth=HOPELESS * min(times.values()) / 1e6)
    return times


def seconds_of(program: Callable[[int], float], *, worth: float = float("inf")) -> float:
    """Returns the seconds of one turn of a loop, the least of three runs.

    Args:
        program: Of `in_loop`.
        worth: A first turn that takes longer is the only one.
    """
    program(1)
    first = program(1)
    if first > worth:
        return first
    turns = max(3, min(10_000, round(RUN_SECONDS / max(first, 1e-6))))
    return min(program(turns) for _ in range(3))


def in_loop(function: Callable[..., Array], *operands: Array) -> Callable[[int], float]:
    """Compiles a loop that calls a function of arrays, each time anew: how it will run.

    Args:
        function: Of arrays, to an array.
        *operands: The arrays.

    Returns:
        `turns -> seconds` of one turn, of so many; on a GPU always of as many as were compiled, since a loop whose
        length is not known there asks the host after every turn.
    """
    on_cpu = next(iter(operands[0].devices())).platform == "cpu"

    def run(turns: Any, *operands: Array) -> Any:
        def body(_: Array, carry: Any) -> Any:
            own, _ = carry
            made = function(*own)
            return tuple(_touched(x, made) for x in own), made

        like = jax.eval_shape(function, *operands)
        return jax.lax.fori_loop(0, turns, body, (operands, jnp.zeros(like.shape, like.dtype)))

    given: tuple[Any, ...] = (jnp.int32(1),) if on_cpu else (TURNS,)
    compiled = jax.jit(run, static_argnums=() if on_cpu else 0).lower(*given, *operands).compile()

    def seconds(turns: int) -> float:
        begin = time.perf_counter()
        jax.block_until_ready(compiled(*((np.int32(turns),) if on_cpu else ()), *operands))
        return (time.perf_counter() - begin) / (turns if on_cpu else TURNS)

    return seconds


def _touched(x: Array, made: Array) -> Array:
    """The same array, as far as can be told; to XLA one that depends on the step before, so nothing leaves the loop."""
    if not x.size or not made.size:
        return x
    first = (0,) * x.ndim
    return x.at[first].set(x[first] + (0 * made[(0,) * made.ndim]).astype(x.dtype))
