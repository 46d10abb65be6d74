"""The average of parameters that a method keeps beside those that it trains."""

from __future__ import annotations

from typing import Any

import jax
import optax

from jaxopt_intro.typing import PyTree


def averaged_params(opt_state: PyTree, params: PyTree, *, outermost: bool = False) -> PyTree:
    """Returns the average of the parameters that an optimizer's state holds, for evaluation.

    A state that holds an average of the parameters is a NamedTuple with a field called `average`, a tree like the
    parameters; a state that averages anything else calls it otherwise. It may be anywhere inside: in a chain, under a
    mask, in a partition. Of several that hold averages of different parameters each gives its own.

    Args:
        opt_state: The state of an optimizer.
        params: The parameters that it trains.
        outermost: Of several averages of the same parameters, takes the outermost in place of refusing.

    Returns:
        The average, in the dtypes of the parameters. Where a mask leaves parameters out of it, they themselves.

    Raises:
        ValueError: The state holds no average, or more than one of the same parameters.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxopt_intro.optimizers.asgd import asgd
        >>> optimizer, params = optax.chain(optax.clip(9.0), asgd(learning_rate=0.5, weight_decay=0.0)), jnp.ones(1)
        >>> state = optimizer.init(params)
        >>> for _ in range(2):
        ...     updates, state = optimizer.update(jnp.ones(1), state, params)
        ...     params = params + updates
        >>> params.tolist(), averaged_params(state, params).tolist()
        ([0.0], [0.25])
    """
    states = averaging_states(opt_state)
    names = ", ".join(type(state).__name__ for state in states)
    if not states:
        raise ValueError(
            "averaged_params: got a state with no average of the parameters; expected one. Use asgd or a schedule_free "
            "method, or wrap the optimizer."
        )

    def chosen(own: Any, *averages: Any) -> Any:
        kept = [average for average in averages if not _is_left_out(average)]
        if len(kept) > 1 and not outermost:
            raise ValueError(
                f"averaged_params: got a state with {len(kept)} averages of the same parameters, in {names}; expected "
                "one of each. Take the state of one of them."
            )
        return kept[0].astype(own.dtype) if kept else own

    def of_each_leaf(average: Any, own: Any) -> Any:  # a mask may leave out a whole branch
        return jax.tree.map(lambda _: average, own) if _is_left_out(average) else average

    def spread(state: Any) -> PyTree:
        return jax.tree.map(of_each_leaf, state.average, params, is_leaf=_is_left_out)

    return jax.tree.map(chosen, params, *map(spread, states))


def averaging_states(state: PyTree) -> list[Any]:
    """Returns the states, anywhere inside a state, that hold an average of the parameters, also inside one another.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxopt_intro.optimizers.asgd import asgd
        >>> [type(state).__name__ for state in averaging_states(asgd(learning_rate=0.5).init(jnp.ones(1)))]
        ['AsgdState']
    """
    found = []
    for part in jax.tree.leaves(state, is_leaf=_holds_average):
        if _holds_average(part):
            within = [value for name, value in part._asdict().items() if name != "average"]
            found += [part, *averaging_states(within)]
    return found


def _holds_average(part: Any) -> bool:
    return "average" in getattr(type(part), "_fields", ())


def _is_left_out(part: Any) -> bool:
    return isinstance(part, optax.MaskedNode)
