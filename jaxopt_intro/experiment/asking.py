"""What is asked of a sweep besides its trials: an `Experiment`, as Python and as TOML."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxopt_intro import data, distributions, routing
from jaxopt_intro.checks import known_name, nearest
from jaxopt_intro.data import Dataset
from jaxopt_intro.models import compute_dtype_of
from jaxopt_intro.sweeps import doctor
from jaxopt_intro.sweeps.space import Trial

PART_FIELDS = (
    "model", "loss", "optimizer", "wrap", "schedule", "proximal", "after_update", "penalty", "augment", "workers",
    "stopping",
)  # fmt: skip
CHOICE_FIELDS = (*PART_FIELDS, "batch_size", "microbatch", "compute_dtype")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """What every trial of a sweep has in common. Each part is a name from a table or any callable.

    Attributes:
        data: A name for `data.load`, a `Dataset`, or a pair of arrays for `data.from_arrays`.
        model: "linear", "mlp", a Flax NNX or Linen module class, a module, a function that makes one, or a `Model`.
        optimizer: A name in `jaxopt-intro list optimizers`, or a function that makes an optax transformation, such as
            `optax.lion`.
        loss: A name in `losses.LOSSES`, such as "softmax_cross_entropy" for labels or "huber" for float targets
            `[N, outputs]`; or `(outputs, targets, *, ...) -> [batch]`.
        penalty: One or several of the names in `jaxopt-intro list penalties`, or `(params, *, ...) -> scalar`.
        augment: One or several, in order, of the names in `jaxopt-intro list augmentations`, `(inputs, ..., *, key) ->
            inputs`, or `(inputs, targets, ..., *, key) -> (inputs, targets)`.
        schedule: One or several, multiplied, of the names in `jaxopt-intro list schedules`, or functions that make
            `step -> factor`, by which the learning rate is multiplied; or a mapping from names of numbers to one or
            several each, `{"learning_rate": "cosine", "b1": "linear"}`, as `make_training` says. A `length` that is not
            given is all steps.
        wrap: One or several, the first innermost, of the names in `jaxopt-intro list wrappers`, or functions `(inner,
            **numbers) -> optimizer`.
        proximal: A name in `jaxopt-intro list proximals`, or `(params, step, *, ...) -> params`, after every update, as
            long as the optimizer's own step; `make_training` says how long that is.
        after_update: One or several, in order, of the names in `jaxopt-intro list projections`, or `(params, *, ...) ->
            params`, after every update.
        workers: A name in `jaxopt-intro list workers`, such as "local_sgd", or `(training, *, ...) -> training`: many
            workers, or delayed updates, simulated in every trial. What is trained, kept and measured is what they
            agree on.
        stopping: "early_stopping", or a function that makes an `EarlyStopping`; it sees the objective, of which less is
            better, after every epoch. A trial that stops keeps its best weights; its later epochs are NaN.
        metrics: Names ("accuracy", "squared_error") or `(outputs, targets) -> [batch]`; None: accuracy for classes,
            unless the loss is of embeddings.
        objective: The metric, or "loss", whose validation decides; None means accuracy where it is measured, else the
            loss. "average_accuracy" and the like are of the average of the parameters, where the optimizer or a wrapper
            keeps one: then that is what is kept and tested.
        direction: "max" or "min"; None asks the metric's table entry.
        epochs: How often each trial goes over the training split.
        steps: How many steps each trial trains, in place of `epochs`.
        batch_size: Examples of an update: of a step, where there is no `microbatch`.
        validate_every: After how many steps the trials are measured on the validation split; None: after each epoch.
        microbatch: Examples of a step, where they are to be fewer than those of an update. The batch size is then a
            number like any other, of trials that share one program, also with a schedule; values are multiples of the
            microbatch. Statistics of batch normalization are of microbatches.
        compute_dtype: In what the model computes, such as "bfloat16"; parameters stay float32. None is float32.
        valid: The share, or number, of training examples that validation takes, where `data` is a name or arrays.
        data_dir: Where the data's own files are, where `data` is a name.
        seed: The first seed; replicates count on from it.
        data_seed: Decides the batches' order, the same for all trials.
        vary_batches: Gives every seed a batch order of its own.
        keep: How many trials' weights are kept.

    Raises:
        ValueError: A field's value is impossible.

    Examples:
        >>> Experiment(data="digits", model="linear", epochs=2).optimizer
        'adam'
        >>> Experiment(epochs=0)
        Traceback (most recent call last):
        ...
        ValueError: Experiment: got epochs=0; expected a whole number of at least 1.
    """

    data: Any = "fashion_mnist_small"
    model: Any = "mlp"
    optimizer: Any = "adam"
    loss: Any = "softmax_cross_entropy"
    penalty: Any = ()
    augment: Any = ()
    schedule: Any = ()
    wrap: Any = ()
    proximal: Any = None
    after_update: Any = ()
    workers: Any = None
    stopping: Any = None
    metrics: Sequence[Any] | None = None
    objective: str | None = None
    direction: str | None = None
    epochs: int = 5
    steps: int | None = None
    batch_size: int = 128
    validate_every: int | None = None
    microbatch: int | None = None
    compute_dtype: str | None = None
    valid: float | int = 0.1
    data_dir: str | None = None
    seed: int = 0
    data_seed: int = 0
    vary_batches: bool = False
    keep: int = 10

    def __post_init__(self) -> None:
        for name in (field.name for field in dataclasses.fields(self)):
            if isinstance(getattr(self, name), distributions.Choice | distributions.Distribution):
                raise ValueError(
                    f"Experiment: got a distribution as {name}; expected one value for all trials. What differs "
                    f"between trials belongs in the space: Space({name}=...)."
                )
        least = {
            "epochs": 1, "steps": 1, "batch_size": 1, "validate_every": 1, "microbatch": 1, "seed": 0, "data_seed": 0,
            "keep": 1,
        }  # fmt: skip
        for name, low in least.items():
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not (whole and value >= low) and not (
                name in ("steps", "validate_every", "microbatch") and value is None
            ):
                raise ValueError(f"Experiment: got {name}={value!r}; expected a whole number of at least {low}.")
            if value is not None:
                object.__setattr__(self, name, int(value))  # NumPy's integers are no TOML
        if self.compute_dtype is not None:
            name = compute_dtype_of(self.compute_dtype).name
            object.__setattr__(self, "compute_dtype", None if name == "float32" else name)
        if not isinstance(self.vary_batches, bool):
            raise ValueError(f"Experiment: got vary_batches={self.vary_batches!r}; expected True or False.")
        for name in ("seed", "data_seed"):
            if getattr(self, name) >= 2**31:
                raise ValueError(f"Experiment: got {name}={getattr(self, name)}; expected a number below 2 ** 31.")
        if self.direction not in (None, "max", "min"):
            raise ValueError(f"Experiment: got direction={self.direction!r}; expected 'max', 'min' or None.")

    @property
    def step_size(self) -> int:
        """How many examples a step sees."""
        return self.microbatch or self.batch_size

    def load_data(self) -> Dataset:
        """Returns the data set that the field `data` stands for.

        Raises:
            ValueError: It stands for none, or there is no validation split.
        """
        if isinstance(self.data, Dataset):
            dataset = self.data
        elif isinstance(self.data, str):
            dataset = data.load(self.data, valid=self.valid, data_dir=self.data_dir)
        elif isinstance(self.data, tuple) and len(self.data) == 2:
            dataset = data.from_arrays(self.data, valid=self.valid)
        else:
            raise ValueError(
                f"Experiment: got data of type {type(self.data).__name__}; expected a name, a Dataset or a pair "
                "(inputs, targets). Make a Dataset with data.from_arrays(train=(x, y))."
            )
        if dataset.valid is None:
            raise ValueError(
                f"Experiment: the data set {dataset.info.name!r} has no validation split; expected one, since it "
                "chooses the best trial. Load it with valid=0.1."
            )
        return dataset

    def with_choices(self, trial: Trial) -> tuple[Experiment, dict[str, Any]]:
        """Returns the experiment of one trial's program, and the choices that are no fields of it.

        An option with a label of its own is called by it: the part `mine` of `choice({"mine": function})`.
        """
        fields, options = {}, {}
        for name, value in trial.choices.items():
            if name in PART_FIELDS and callable(value) and routing.own_name(value) != trial.labels[name]:
                value = routing.named(value, trial.labels[name])
            (fields if name in CHOICE_FIELDS else options)[name] = value
        return dataclasses.replace(self, **fields), options

    def with_batch_size_as_number(self, trial: Trial) -> Trial:
        """Returns the trial with a chosen batch size among its numbers, where the experiment has a microbatch."""
        if "batch_size" not in trial.choices or trial.choices.get("microbatch", self.microbatch) is None:
            return trial
        size = trial.choices["batch_size"]
        rest = [{n: v for n, v in own.items() if n != "batch_size"} for own in (trial.choices, trial.labels)]
        return Trial({**trial.hparams, "batch_size": size}, *rest)


def to_mapping(experiment: Experiment) -> dict[str, Any]:
    """Returns the experiment as plain values, callables by where they are found; None is left out."""
    fields = {f.name: getattr(experiment, f.name) for f in dataclasses.fields(experiment)}
    if isinstance(experiment.data, Dataset):
        fields["data"] = experiment.data.info.name
    elif not isinstance(experiment.data, str):
        fields["data"] = "arrays"
    plain = {name: distributions.plain(value) for name, value in fields.items()}
    return {name: value for name, value in plain.items() if value is not None}


def from_mapping(fields: Mapping[str, Any], parts: Mapping[str, Any] | None = None) -> Experiment:
    """Makes an experiment of plain values, finding callables again by `module:function`.

    Args:
        fields: Values by the names of the fields.
        parts: Functions by name, instead of importing them.

    Raises:
        ValueError: A field is unknown, or a callable is not found.

    Examples:
        >>> from_mapping({"model": "linear", "optimizer": "optax:lion"}).optimizer.__name__
        'lion'
    """
    known = [f.name for f in dataclasses.fields(Experiment)]
    values = {known_name(name, known, "field of an experiment"): value for name, value in fields.items()}
    for name in (*PART_FIELDS, "metrics"):
        if name in values:
            values[name] = find(values[name], name, parts)
    return Experiment(**values)


def find(value: Any, what: str, parts: Mapping[str, Any] | None = None) -> Any:
    """Returns the callable that `package.module:function` names; other values unchanged, lists as tuples.

    Of a mapping, each value.

    Args:
        value: A stored value.
        what: What it is for, in messages.
        parts: Functions by name, instead of importing them.

    Raises:
        ValueError: There is no such module or function, or the module raises when it is imported.

    Examples:
        >>> find("math:exp", "loss")(0.0)
        1.0
    """
    if isinstance(value, list):
        return tuple(find(v, what, parts) for v in value)
    if isinstance(value, Mapping):
        return {name: find(v, what, parts) for name, v in value.items()}
    if not isinstance(value, str) or ":" not in value:
        return value
    module, _, name = value.partition(":")
    own = name.partition("(")[0].rpartition(".")[2]
    for known in (value, own, what):
        if known in (parts or {}):
            return (parts or {})[known]
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        where = "Is the module installed, or its folder on PYTHONPATH? "
        if isinstance(error, AttributeError) and error.name:
            where = nearest(error.name, (n for n in dir(error.obj) if n[0] != "_")) or where
        raise ValueError(
            f"{what}: got {value!r}, which was not found ({error}); expected package.module:function. {where}In Python "
            f"pass it by name: parts={{{own!r}: …}}."
        ) from error
    except Exception as error:  # whatever a user's module does at its top
        where = "" if isinstance(error, SyntaxError) else doctor.place(error)  # which says its own
        raise ValueError(
            f"{what}: got {value!r}, but importing {module} raised {type(error).__name__}{where}: "
            f"{' '.join(str(error).split())}; expected a module that can be imported. Mend it there."
        ) from error
    return found
