"""What the engine is given: members, the groups that they train in, and the job as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxopt_intro.regularizers.stopping import EarlyStopping
from jaxopt_intro.sweeps.pruning import Pruner
from jaxopt_intro.typing import Array, Batch, Training

Pair = tuple[str, int]
"""A trial's id and one of its seeds: what a member is called."""


class Member(NamedTuple):
    """A trial with one of its seeds: what a lane trains."""

    trial: str
    seed: int
    hparams: Mapping[str, float]

    @property
    def pair(self) -> Pair:
        """What it is called."""
        return self.trial, self.seed


class Lighter(NamedTuple):
    """A way to train the same in less memory, for what does not fit.

    Attributes:
        words: How, for the plan and the receipt.
        make: Makes the training.
        evaluate: Its evaluation, of fewer examples at a time.
        stateless: Whether it is for models without a state alone: batch statistics are of whole batches.
    """

    words: str
    make: Callable[[], Training]
    evaluate: Callable[..., dict[str, Array]]
    stateless: bool


class Group(NamedTuple):
    """The members that share one program.

    Attributes:
        id: A hash of the choices.
        title: The choices in words.
        training: The training of one member.
        evaluate: `(state, data, hparams) -> metrics` of one member.
        stopping: `hparams -> early stopping` of one member, or None.
        average: `(state, train, hparams) -> state` at the average of its parameters, or None where there is none.
        lighter: Ways to train in less memory, tried in order where one lane does not fit.
        members: Trials crossed with seeds, in the order asked.
        batch_size: Examples in a batch.
        rounds: Steps from one validation to the next.
    """

    id: str
    title: str
    training: Training
    evaluate: Callable[..., dict[str, Array]]
    stopping: Callable[..., EarlyStopping] | None
    average: Callable[..., Any] | None
    lighter: Sequence[Lighter]
    members: list[Member]
    batch_size: int
    rounds: list[int]


class Source(NamedTuple):
    """Where members come from that are not known at the start.

    Attributes:
        ask: `(count, before) -> groups` with up to so many new trials as members, which share one program; none: no
            more come. `before` are the ids that an earlier session got for the same ask, or None.
        tell: Told the ids of trials that have ended, each once.
        batch: How many trials are asked for at a time, at most.
        count: How many to ask for now; 0 once there are as many as are wanted.
    """

    ask: Callable[[int, Sequence[str] | None], list[Group]]
    tell: Callable[[Sequence[str]], None]
    batch: int
    count: Callable[[], int]


class Job(NamedTuple):
    """Everything that the engine needs.

    Attributes:
        groups: The groups that are known at the start.
        train: The training split.
        valid: The validation split.
        data_seed: Decides the batches' order.
        vary_batches: Whether every seed has an order of its own.
        objective: The metric that decides, as the evaluation names it.
        direction: "max" or "min".
        keep: How many trials' weights are kept.
        width: The width of a device's tile, or None to measure.
        convolutions: The way of every "outputs", "images" or "kernel" of a convolution that can have it, or None.
        pruner: Says which trials go on, or None: all do.
        source: Where more trials come from, or None.
        likely: Groups like those that may come from there: how long their members train.
    """

    groups: list[Group]
    train: Batch
    valid: Batch
    data_seed: int
    vary_batches: bool
    objective: str
    direction: str
    keep: int
    width: int | None
    convolutions: Mapping[str, str] | None = None
    pruner: Pruner | None = None
    source: Source | None = None
    likely: Sequence[Group] = ()
