from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Optional, Union

import optax
import pytest
from flax import nnx

from jaxopt_intro import routing
from jaxopt_intro.optimizers import METHODS
from jaxopt_intro.routing import Part, Route, deliver, known_routes, named, numbers, options, route

PARTS = [
    Part("model", "mlp", ("dropout",)),
    Part("loss", "tilted", ("q", "momentum")),
    Part("optimizer", "momentum", ("learning_rate", "momentum")),
    Part("penalty", "l2", ("strength",)),
    Part("penalty", "l1", ("strength",)),
]


def test_a_bare_name_is_enough_where_one_part_takes_it():
    assert route(PARTS, ["learning_rate", "dropout", "q"]) == {
        "learning_rate": Route(2, "learning_rate"), "dropout": Route(0, "dropout"), "q": Route(1, "q"),
    }  # fmt: skip


def test_a_part_is_called_by_its_name_or_its_role():
    expected = Route(2, "momentum")
    assert route(PARTS, ["momentum.momentum"]) == {"momentum.momentum": expected}
    assert route(PARTS, ["optimizer.momentum"]) == {"optimizer.momentum": expected}
    assert route(PARTS, ["l1.strength", "l2.strength"]) == {
        "l1.strength": Route(4, "strength"), "l2.strength": Route(3, "strength"),
    }  # fmt: skip


def test_a_parts_name_stands_for_its_only_number():
    assert route(PARTS, ["l2", "l1", "mlp"]) == {
        "l2": Route(3, "strength"), "l1": Route(4, "strength"), "mlp": Route(0, "dropout"),
    }  # fmt: skip
    with pytest.raises(ValueError, match="no part takes the number 'tilted'"):
        route(PARTS, ["tilted"])  # it takes two


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["momentum"], r"'momentum' is taken by more than one part: write one of tilted.momentum, momentum.momentum\."),
        (["strength"], r"more than one part: write one of l2.strength, l1.strength"),
        (["penalty.strength"], "write one of l2.strength, l1.strength"),
        (["learning_rat"], "no part takes the number 'learning_rat'. Did you mean 'learning_rate'?.*mlp takes dropout"),
        (["mlp.dropuot"], "Did you mean 'mlp.dropout'"),
        (["lr"], "no part takes the number 'lr'.*optimizer momentum takes learning_rate, momentum"),
        (["adam.learning_rate"], "no part takes the number 'adam.learning_rate'"),
        (["q", "loss.q"], "'q' and 'loss.q' are the same number, tilted.q; expected it once"),
        (["l2", "l2.strength"], "are the same number, l2.strength"),
    ],
    ids=["two", "bare", "role", "near", "near dotted", "far", "other part", "twice", "lone twice"],
)
def test_names_that_no_one_part_takes_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        route(PARTS, names)


def test_no_numbers_at_all():
    with pytest.raises(ValueError, match="No part takes any"):
        route([Part("model", "linear", ())], ["x"])
    assert route(PARTS, []) == {}


def test_parts_of_one_name_are_told_apart_by_role():
    parts = [Part("loss", "mine", ("q",)), Part("penalty", "mine", ("q",))]
    with pytest.raises(ValueError, match=r"write one of loss\.q, penalty\.q"):
        route(parts, ["mine.q"])
    assert route(parts, ["loss.q"]) == {"loss.q": Route(0, "q")}


def test_known_routes_leave_the_others_alone():
    assert known_routes(PARTS[:1], ["learning_rate", "dropout", "l2"]) == {"dropout": Route(0, "dropout")}
    assert known_routes(PARTS[:1], ["model.dropout"]) == {"model.dropout": Route(0, "dropout")}


def test_deliver():
    routes = route(PARTS, ["l2", "dropout", "learning_rate"])
    values = {"l2": 1, "dropout": 2, "learning_rate": 3}
    assert deliver(PARTS, routes, values) == [{"dropout": 2}, {}, {"learning_rate": 3}, {"strength": 1}, {}]


def test_numbers_of_a_function_of_arrays_are_keyword_only():
    def loss(
        predictions, targets, weight=1.0, *, q=0.5, power, flag=False, name="x", table=None, maybe: float | None = None
    ):
        return predictions

    assert numbers(loss, constructs=False) == ("q", "power", "maybe")
    assert options(loss, constructs=False) == ("q", "power", "flag", "name", "table", "maybe")
    assert "weight" in numbers(loss, constructs=True)


def test_what_the_trainer_gives_is_no_number():
    def augment(inputs, *, key, shift=2):
        return inputs

    class Net(nnx.Module):
        def __init__(self, example, *, slope=0.1, width: int = 4, rngs: nnx.Rngs):
            pass

    assert numbers(augment, constructs=False) == ("shift",)
    assert numbers(Net, constructs=True) == ("slope", "width")
    assert numbers(functools.partial(Net, width=8, slope=0.2), constructs=True) == ("slope", "width")
    assert list(routing.parameters(Net)) == ["example", "slope", "width", "rngs"]


def test_annotations_that_name_a_number():
    def yes(*, a: float, b: int, c: "float | None" = None, d: Optional[float] = None, e: Union[int, None] = None): ...  # noqa: UP007, UP045
    def no(*, a: Sequence[int], b: Callable[[int], float] | None = None, c: "Constraint | None" = None): ...
    def neither(*, d: str = "x", e: list[float] | None = None, f: dict[str, int] | None = None, g: bool = True): ...

    assert numbers(yes, constructs=False) == ("a", "b", "c", "d", "e")
    assert numbers(no, constructs=False) == numbers(neither, constructs=False) == ()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (optax.sgd, ("learning_rate", "momentum")),
        (optax.adamw, ("learning_rate", "b1", "b2", "eps", "eps_root", "weight_decay")),
        (optax.lion, ("learning_rate", "b1", "b2", "weight_decay")),
        (optax.lamb, ("learning_rate", "b1", "b2", "eps", "eps_root", "weight_decay")),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_optaxs_numbers_are_found_and_its_masks_are_none(make, expected):
    assert numbers(make, constructs=True) == expected


def test_every_method_is_found_to_take_a_learning_rate():
    assert all(numbers(m.make, constructs=True)[0] == "learning_rate" for m in METHODS.values())


def test_names_of_callables():
    partial = functools.partial(optax.sgd, 0.1, nesterov=True)
    assert routing.own_name(partial) == "sgd"
    assert routing.qualified_name(partial).endswith(":sgd(0.1, nesterov=True)")
    assert routing.own_name(named(optax.sgd, "mine", momentum=0.5)) == "mine"
    assert routing.own_name(functools.partial(named(optax.sgd, "mine"), momentum=0.5)) == "mine"
    with pytest.raises(ValueError, match="has no name of its own; expected a function"):
        routing.qualified_name(3)
