"""From names to functions: what is routed where, what is compiled, and that a mistake is one clear line, early."""

from __future__ import annotations

import functools
import re
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

from jaxopt_intro import Experiment, Space, adaptive, choice, data, journal, load_model, losses, models, sweep
from jaxopt_intro.distributions import integer, log_uniform, uniform
from jaxopt_intro.experiment import files
from jaxopt_intro.experiment.asking import from_mapping, to_mapping
from jaxopt_intro.journal import Locked
from jaxopt_intro.sweeps import planning
from tests.small import DATA, X, Y, of

pytestmark = pytest.mark.usefixtures("compiled_once")

EXPERIMENT = Experiment(data=DATA, model="linear", optimizer="sgd", epochs=1, batch_size=8)
RATES = Space(learning_rate=log_uniform(1e-3, 1.0))
TWO = RATES.grid(2)


def experiment(**changed):
    return Experiment(**{**vars(EXPERIMENT), **changed})


class Net(nnx.Module):
    def __init__(self, *, width=4, dropout=0.0, rngs):
        self.first, self.last = nnx.Linear(4, width, rngs=rngs), nnx.Linear(width, 3, rngs=rngs)
        self.dropout = models.layers.Dropout(dropout, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.first(x))))


# -- what is traced, what is compiled --------------------------------------------------------------------------


def test_a_number_that_is_a_shape_is_compiled_and_all_others_are_lanes(tmp_path):
    space = Space(learning_rate=log_uniform(1e-2, 1e-1), l2=1e-3, dropout=uniform(0.0, 0.5), width=integer(2, 3))
    found = sweep(experiment(model=Net, penalty="l2"), space.grid(2), directory=tmp_path / "run", width=2)
    assert (found.status == "finished").all()
    trials = of(tmp_path / "run", "trial")
    assert all(trial["fixed"] == ["width"] for trial in trials)
    reason = trials[0]["compiled"]["width"]
    assert "a shape" in reason
    assert Path(__file__).name in reason, "the reason names the line"
    assert len({trial["group"] for trial in trials}) == 2
    assert [plan["title"] for plan in of(tmp_path / "run", "plan")] == ["width 2", "width 3"]
    narrow, wide = (load_model(tmp_path / "run", t["trial"], parts={"Net": Net}) for t in (trials[0], trials[1]))
    assert [m.params["first"]["kernel"].shape for m in (narrow, wide)] == [(4, 2), (4, 3)]


class Branching(nnx.Module):
    def __init__(self, *, slope=0.5, rngs):
        self.dense, self.slope = nnx.Linear(4, 3, rngs=rngs), slope if slope > 0 else 0.0

    def __call__(self, x):
        return nnx.leaky_relu(self.dense(x), self.slope)


def test_a_number_that_decides_a_branch_is_compiled_and_the_line_is_named(tmp_path):
    space = Space(learning_rate=0.1, slope=uniform(0.1, 0.2))
    sweep(experiment(model=Branching), space.grid(2), directory=tmp_path / "run", width=1)
    (first, second) = of(tmp_path / "run", "trial")
    assert first["fixed"] == second["fixed"] == ["slope"]
    assert re.search(r"a branch at test_experiment.py:\d+: .*slope > 0", first["compiled"]["slope"])


def test_names_reach_the_part_that_is_meant(tmp_path):
    space = Space({"sgd.learning_rate": 0.1, "penalty.strength": 0.5, "loss.label_smoothing": 0.1})
    dotted = sweep(experiment(penalty="l2"), space.grid(), directory=tmp_path / "dotted", width=1)
    bare = Space(learning_rate=0.1, l2=0.5, label_smoothing=0.1)
    plain = sweep(experiment(penalty="l2"), bare.grid(), directory=tmp_path / "bare", width=1)
    np.testing.assert_array_equal(dotted.train_loss, plain.train_loss)
    assert dotted.trial.item() == plain.trial.item(), "a trial's id does not depend on how its numbers are spelled"
    less = sweep(
        experiment(penalty="l2"), Space(learning_rate=0.1, l2=0.5).grid(), directory=tmp_path / "less", width=1
    )
    assert less.train_loss.item() != plain.train_loss.item()


def test_augmentations_by_name_are_parts_of_their_own(tmp_path):
    asked = Experiment(
        data="digits", model="linear", optimizer="sgd", steps=3, augment=["shift", "label_noise", "mixup"]
    )
    space = Space({"learning_rate": 0.1, "shift": uniform(0.0, 0.2), "mixup": 0.4, "label_noise.strength": 0.1})
    found = sweep(asked, space.grid(2), directory=tmp_path / "run", width=2)
    assert (found.status == "finished").all()
    assert all(trial["fixed"] == [] for trial in of(tmp_path / "run", "trial")), "every number is a lane"
    assert len(set(found.train_loss.values.ravel().tolist())) == 2
    none = Space({"learning_rate": 0.1, "shift": 0.0, "mixup": 0.0, "label_noise": 0.0})
    off = sweep(asked, none.grid(), directory=tmp_path / "off", width=1)
    plain = sweep(
        Experiment(data="digits", model="linear", optimizer="sgd", steps=3), Space(learning_rate=0.1).grid(),
        directory=tmp_path / "plain", width=1,
    )  # fmt: skip
    np.testing.assert_allclose(off.train_loss, plain.train_loss, rtol=1e-5)


def test_a_choice_between_augmentations_has_numbers_of_its_own(tmp_path):
    asked = Experiment(data="digits", model="linear", optimizer="sgd", steps=2)
    space = Space(learning_rate=0.1, augment=choice({"none": None, "moved": ("shift", "rotate")}))
    with pytest.raises(ValueError, match=r"augment shift: got no value for 'strength'.*Add 'shift' to the space"):
        sweep(asked, space.grid(), directory=tmp_path / "without", width=1)


def test_the_order_and_the_company_in_a_space_change_no_id():
    from jaxopt_intro.experiment import grouping

    def ids(space, **counts):
        staged, _ = grouping.stage(EXPERIMENT, DATA, space.grid(**counts))
        return {s.id for s in staged}

    all_of_them = ids(
        Space(optimizer=choice(["sgd", "momentum"]), learning_rate=log_uniform(1e-3, 1.0)), learning_rate=2
    )
    other_order = ids(
        Space(learning_rate=log_uniform(1e-3, 1.0), optimizer=choice(["momentum", "sgd"])), learning_rate=2
    )
    assert len(all_of_them) == 4
    assert all_of_them == other_order
    assert ids(RATES, learning_rate=2) < all_of_them, "as a field of the experiment or as a choice"


def test_trials_that_mean_the_same_are_trained_once(tmp_path):
    twice = [*TWO, *TWO, TWO[0]._replace(hparams={"sgd.learning_rate": 0.001})]
    assert sweep(EXPERIMENT, twice, directory=tmp_path / "run", width=2).sizes["trial"] == 2
    assert len(of(tmp_path / "run", "end")) == 2


class LinenNet(linen.Module):
    slope: float = 0.1

    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(linen.leaky_relu(linen.Dense(5)(x), self.slope))


def make_net(rngs):
    return nnx.Sequential(nnx.Linear(4, 5, rngs=rngs), nnx.relu, nnx.Linear(5, 3, rngs=rngs))


@pytest.mark.parametrize("model", [LinenNet, make_net, models.linear(outputs=3), functools.partial(Net, width=6)])
def test_models_of_every_kind_are_trained_and_loaded_again(tmp_path, model):
    found = sweep(experiment(model=model), TWO, directory=tmp_path / "run", width=2)
    assert (found.status == "finished").all()
    loaded = load_model(tmp_path / "run", parts={"model": model})
    (test,) = of(tmp_path / "run", "test")
    accuracy = (np.asarray(loaded.predict(X[40:])).argmax(1) == Y[40:]).mean()
    assert accuracy == pytest.approx(test["metrics"]["accuracy"])


def absolute_error(outputs, targets):
    return jnp.abs(outputs - targets).sum(-1)


def test_regression_on_own_arrays_is_decided_by_the_loss(tmp_path):
    targets = (X @ np.float32([[1], [2], [0], [-1]])).astype(np.float32)
    asked = experiment(
        data=(X, targets), model=functools.partial(models.linear, outputs=1), loss=absolute_error, valid=20, epochs=5
    )
    found = sweep(asked, TWO, directory=tmp_path / "run", width=2)
    assert (found.attrs["objective"], found.attrs["direction"]) == ("valid_loss", "min")
    assert found.valid_loss.isel(epoch=-1).min() < found.valid_loss.isel(epoch=0).min()


@pytest.mark.parametrize(
    ("loss", "targets", "model"),
    [
        ("huber", X[:, :2] - 2 * X[:, 2:], "linear"),
        ("hinge", np.where(X[:, :1] > X[:, 1:2], np.float32(1), np.float32(-1)), "linear"),
        ("sigmoid_cross_entropy", (X[:, :2] > 0).astype(np.float32), "linear"),
        ("poisson_nll", np.rint(np.exp(X[:, :2])).astype(np.int32), "linear"),
        ("kl", np.exp(X) / np.exp(X).sum(1, keepdims=True), "linear"),
        ("gaussian_nll", X[:, :2] - 2 * X[:, 2:], functools.partial(models.linear, outputs=4)),
        ("crammer_singer", Y, "linear"),
    ],
)
def test_losses_of_every_kind_of_target_are_found_by_name_and_learn(tmp_path, loss, targets, model):
    asked = experiment(data=(X, targets), model=model, loss=loss, valid=20, epochs=8, objective="loss")
    found = sweep(asked, Space(learning_rate=0.05).grid(1), directory=tmp_path / "run", width=1)
    assert found.status.values.ravel().tolist() == ["finished"]
    assert found.valid_loss.isel(epoch=-1).min() < found.valid_loss.isel(epoch=0).min()
    outputs = load_model(tmp_path / "run", parts={"linear": model}).predict(X[:5])
    assert outputs.shape == {"gaussian_nll": (5, 4), "crammer_singer": (5, 3)}.get(loss, (5, *targets.shape[1:]))


# -- mistakes --------------------------------------------------------------------------------------------------


def generalized(outputs, targets, *, q):
    chosen = jnp.take_along_axis(jax.nn.softmax(outputs), targets[:, None], 1)[:, 0]
    return (1 - chosen**q) / q


def mean_loss(outputs, targets):
    return jnp.mean(losses.softmax_cross_entropy(outputs, targets))


def raising_loss(outputs, targets):
    raise KeyError("a column that is not there")


def count_right(outputs, targets):
    return (outputs.argmax(-1) == targets).astype(jnp.float32)


def mean_metric(outputs, targets):
    return jnp.mean(outputs)


def long_penalty(params, *, strength=1.0):
    return jnp.ones(3) * strength


def raising_augmentation(inputs, *, key):
    raise RuntimeError("line one\nline two")


ABOVE = Space(learning_rate=0.1)
MISTAKES = {
    "a number that no part takes": ({}, Space(learning_rate=0.1, momentum=0.9), "no part takes the number 'momentum'"),
    "a misspelt number": ({}, Space(learning_rat=0.1), "Did you mean 'learning_rate'"),
    "another option's number": ({}, Space({"adam.b1": 0.9}, learning_rate=0.1), "no part takes the number 'adam.b1'"),
    "a number of one option without its name": (
        {}, Space(learning_rate=0.1, momentum=0.9, optimizer=choice(["sgd", "momentum"])),
        "written with it: option.number"),
    "an ambiguous number": (
        {"penalty": ["l1", "l2"]}, Space(learning_rate=0.1, strength=0.1), "write one of l1.strength, l2.strength"),
    "a number twice": (
        {"penalty": "l2"}, Space({"l2.strength": 1.0}, learning_rate=0.1, l2=0.1), "the same number, l2.strength"),
    "a number that is missing": ({"penalty": "l2"}, Space(l2=0.1), "optimizer sgd: got no value for 'learning_rate'"),
    "a penalty's number that is missing": ({"penalty": "l2"}, ABOVE, "penalty l2: got no value for 'strength'"),
    "a misspelt option": (
        {"model": "mlp"}, Space(learning_rate=0.1, activaton="relu"), "Did you mean 'activation'"),
    "an unknown activation": ({"model": "mlp"}, Space(learning_rate=0.1, activation="rely"), "Did you mean 'relu'"),
    "an unknown optimizer": ({"optimizer": "adm"}, ABOVE, "unknown optimizer 'adm'. Did you mean 'adam'"),
    "an unknown optimizer among others": (
        {}, Space(learning_rate=0.1, optimizer=choice(["sgd", "momentun"])), "Did you mean 'momentum'"),
    "an optimizer that was made already": ({"optimizer": optax.adam(1e-3)}, ABOVE, "optax.adam, not optax.adam(1e-3)"),
    "an unknown model": ({"model": "linar"}, ABOVE, "unknown model 'linar'. Did you mean 'linear'"),
    "a model that was made already": ({"model": make_net(nnx.Rngs(0))}, ABOVE, "pass an NNX class"),
    "a model for other inputs": ({"model": functools.partial(nnx.Linear, 7, 3)}, ABOVE, "when traced, a part raised"),
    "an unknown loss": ({"loss": "softmax_cros_entropy"}, ABOVE, "Did you mean 'softmax_cross_entropy'"),
    "an unknown penalty": ({"penalty": "l3"}, ABOVE, "unknown penalty 'l3'"),
    "an unknown metric": ({"metrics": ["acuracy"]}, ABOVE, "Did you mean 'accuracy'"),
    "an objective that is not measured": ({"objective": "acuracy"}, ABOVE, "Did you mean 'accuracy'"),
    "an unknown data set": ({"data": "digit"}, ABOVE, "Did you mean 'digits'"),
    "data of no known kind": ({"data": [X, Y]}, ABOVE, "expected a name, a Dataset or a pair"),
    "data of unequal lengths": ({"data": (X, Y[:9])}, ABOVE, "inputs 60, train targets 9"),
    "no validation split": ({"data": data.from_arrays(train=(X, Y), valid=None)}, ABOVE, "has no validation split"),
    "a batch larger than the data": ({"batch_size": 31}, ABOVE, "batch_size=31 and 30 training examples"),
    "a batch among others": ({}, Space(learning_rate=0.1, batch_size=choice([8, 64])), "batch_size=64 and 30"),
    "a swept loss as objective": (
        {"loss": generalized, "objective": "loss"}, Space(learning_rate=0.1, q=uniform(0.2, 0.8)),
        "a sweep over q, which changes what the loss measures"),
    "a choice of losses as objective": (
        {"objective": "loss"}, Space(learning_rate=0.1, loss=choice(["softmax_cross_entropy", "weston_watkins"])),
        "a sweep over the loss itself"),
    "an own metric without a direction": (
        {"metrics": [count_right], "objective": "count_right"}, ABOVE, "Pass direction='max' or direction='min'"),
    "a loss that returns a mean": (
        {"loss": mean_loss}, ABOVE, "loss mean_loss: got an array of shape () for a batch of 8"),
    "a loss of signs for classes": (
        {"loss": "hinge"}, ABOVE, "shape (30, 3) and targets of shape (30,); expected equal shapes"),
    "and which losses would do": ({"loss": "huber"}, ABOVE, "These losses would take both: crammer_singer, focal,"),
    "a loss of classes for numbers": (
        {"loss": "focal", "data": (X, X), "valid": 20}, ABOVE, "expected integer labels of shape (40,)"),
    "a loss of signs for bits": (
        {"loss": "hinge", "data": (X, (X > 0).astype(np.float32)), "valid": 20}, ABOVE,
        "expected -1 or 1. For targets 0 and 1 pass 2 * targets - 1"),
    "a validation label that is no class": (
        {"data": DATA._replace(valid=(X[:9], Y[:9] + 1))}, ABOVE, "got labels from 1 to 3; expected classes"),
    "a variance without outputs": (
        {"loss": "gaussian_nll", "data": (X, X), "valid": 20, "model": functools.partial(models.linear, outputs=4)},
        ABOVE, "Give the model twice as many outputs"),
    "a column of targets that is no column": (
        {"loss": "huber", "data": (X, X[:, 0]), "valid": 20}, ABOVE, "got targets of shape (40,)"),
    "a metric that returns a mean": ({"metrics": [mean_metric], "objective": "loss"}, ABOVE, "metric mean_metric: got"),
    "a penalty that returns an array": (
        {"penalty": long_penalty}, ABOVE, "penalty long_penalty: got an array of shape (3,)"),
    "a loss that raises": ({"loss": raising_loss}, ABOVE, "KeyError at test_experiment.py"),
    "an augmentation that raises": ({"augment": raising_augmentation}, ABOVE, "RuntimeError at test_experiment.py"),
    "a width between two whole numbers": (
        {"model": Net}, Space(learning_rate=0.1, width=uniform(2.0, 3.5)), "at test_experiment.py"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_before_anything_is_compiled_or_written(tmp_path, monkeypatch, name):
    changed, space, expected = MISTAKES[name]

    def compile_nothing(*args, **kwargs):
        raise AssertionError("something was compiled")

    monkeypatch.setattr(planning.Programs, "_get", compile_nothing)
    with pytest.raises(ValueError, match=re.escape(expected)) as raised:
        sweep(experiment(**changed), space.grid(2), directory=tmp_path / "run", width=2)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([], "got no trials"),
        (RATES, "got a Space; expected trials"),
        ([{"learning_rate": 0.1}], "got a dict among the trials"),
    ],
)
def test_what_are_no_trials_is_said(tmp_path, trials, expected):
    with pytest.raises(ValueError, match=expected):
        sweep(EXPERIMENT, trials, directory=tmp_path / "run")


@pytest.mark.parametrize(("name", "value"), [("replicates", 0), ("replicates", 1.5), ("width", 0), ("width", "4")])
def test_counts_are_whole_numbers(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"got {name}={value!r}; expected a whole number of at least 1"):
        sweep(EXPERIMENT, TWO, directory=tmp_path / "run", **{name: value})


def test_a_function_without_a_name_cannot_be_chosen():
    with pytest.raises(ValueError, match="got a lambda, which has no name to store"):
        choice(["softmax_cross_entropy", lambda outputs, targets: outputs])


# -- one run, one experiment -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"epochs": 2}, "epochs=1; got epochs=2"),
        ({"batch_size": 4}, "batch_size=8; got batch_size=4"),
        ({"optimizer": "adam"}, "optimizer='sgd'; got optimizer='adam'"),
        ({"data": data.from_arrays(train=(X[::-1], Y), valid=0.25)}, "other content"),
    ],
)
def test_another_experiment_in_the_same_directory_is_refused_and_changes_nothing(tmp_path, changed, expected):
    sweep(EXPERIMENT, TWO, directory=tmp_path / "run", width=2)
    before = (tmp_path / "run" / "journal.jsonl").read_bytes()
    with pytest.raises(ValueError, match=re.escape(expected)):
        sweep(experiment(**changed), TWO, directory=tmp_path / "run")
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == before


@pytest.mark.parametrize("make", [RATES.grid, lambda n: adaptive(RATES, trials=4)], ids=["grid", "search"])
def test_another_width_in_the_same_directory_is_refused_and_changes_nothing(tmp_path, make):
    sweep(EXPERIMENT, make(2), directory=tmp_path / "run", width=2)
    before = (tmp_path / "run" / "journal.jsonl").read_bytes()
    with pytest.raises(ValueError, match="got width=3, but this run's is 2"):
        sweep(EXPERIMENT, make(3), directory=tmp_path / "run", width=3)
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == before


def test_a_run_that_is_being_written_is_refused(tmp_path):
    def again(record):
        if record["type"] == "plan":
            sweep(EXPERIMENT, TWO, directory=tmp_path / "run")

    with pytest.raises(Locked, match="is being written by process"):
        sweep(EXPERIMENT, TWO, directory=tmp_path / "run", width=2, listener=again)
    assert (sweep(EXPERIMENT, TWO, directory=tmp_path / "run").status == "finished").all()


def test_a_new_run_gets_a_directory_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [Path(sweep(EXPERIMENT, TWO, width=2).attrs["run"]) for _ in range(2)]
    assert len(set(runs)) == 2
    assert all(run.parent == Path("runs") and run.name.endswith(("-arrays", "-arrays-2")) for run in runs)


# -- searchers -------------------------------------------------------------------------------------------------

SEARCHED = Space(learning_rate=log_uniform(1e-3, 1.0), optimizer=choice(["sgd", "adam"]))


def asks(directory):
    return [(ask["count"], ask["trials"]) for ask in of(directory, "ask")]


def test_a_search_with_a_limit_goes_on_under_a_larger_one_and_a_smaller_one_is_refused(tmp_path):
    pytest.importorskip("optuna")

    def go(most):
        return sweep(EXPERIMENT, adaptive(SEARCHED, trials=20), directory=tmp_path / "run", width=4, max_trials=most)

    assert go(7).sizes["trial"] == 7
    first = asks(tmp_path / "run")
    assert [count for count, _ in first] == [7, 2]
    found = go(12)
    assert found.sizes["trial"] == 12
    assert (found.status == "finished").all()
    assert asks(tmp_path / "run")[:2] == first
    before = (tmp_path / "run" / "journal.jsonl").read_bytes()
    with pytest.raises(ValueError, match="got max_trials=5 for a search that has been asked for 12 trials already"):
        go(5)
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == before


def test_the_same_searcher_goes_on_after_an_interrupt_and_searches_anew_elsewhere(tmp_path):
    """As a notebook's cell that is run again does it."""
    pytest.importorskip("optuna")
    searcher, calls = adaptive(SEARCHED, trials=12), []

    def interrupted(record):
        calls.append(record["type"])
        if calls.count("ask") == 2:
            raise KeyboardInterrupt

    def go(name, listener=None):
        return sweep(EXPERIMENT, searcher, directory=tmp_path / name, width=4, listener=listener)

    with pytest.raises(KeyboardInterrupt):
        go("run", interrupted)
    found, other = go("run"), go("other")
    assert (found.status == "finished").all()
    assert found.trial.values.tolist() == other.trial.values.tolist()
    assert asks(tmp_path / "run") == asks(tmp_path / "other")


def test_a_batch_of_a_searcher_is_one_program_also_where_numbers_are_compiled(tmp_path):
    pytest.importorskip("optuna")
    space = Space(learning_rate=log_uniform(1e-3, 1.0), width=integer(2, 20))
    sweep(experiment(model=Net), adaptive(space, trials=10), directory=tmp_path / "run", width=4)
    groups = {trial["trial"]: trial["group"] for trial in of(tmp_path / "run", "trial")}
    assert [len({groups[trial] for trial in trials}) for _, trials in asks(tmp_path / "run")] == [1, 1]


def test_a_searcher_that_searches_otherwise_than_before_is_refused(tmp_path):
    pytest.importorskip("optuna")

    def go(searcher):
        return sweep(EXPERIMENT, searcher, directory=tmp_path / "run", width=4, max_trials=4)

    go(adaptive(SEARCHED, trials=20))
    other = adaptive(SEARCHED, trials=20, seed=1)._replace(asked=adaptive(SEARCHED, trials=20).asked)
    with pytest.raises(ValueError, match=r"asked again for what the journal has, and got 4 trials, not \w+;"):
        go(other)
    assert sum(r["type"] == "trial" for r in journal.read(tmp_path / "run")) == 4


# -- experiment files ------------------------------------------------------------------------------------------

ASKED = {
    "replicates": 2,
    "experiment": {"data": "digits", "model": "mlp", "epochs": 1, "batch_size": 512, "penalty": ["l1", "l2"]},
    "numbers": {
        "learning_rate": {"log_uniform": [1e-3, 1e-1]},
        "adam.b1": 0.8,
        "l1": {"uniform": [0.0, 0.5]},
        "l2": 1e-4,
        "dropout": {"uniform": [0.0, 0.5]},
    },
    "choices": {"optimizer": ["adam", "optax:lion"], "widths": [[8], [4, 4]], "activation": ["relu"]},
    "search": {"random": 3, "seed": 5},
}


def trials_of(tables):
    return files.trials_of(files.space_of(tables), tables["search"])


def test_an_experiment_file_comes_back_as_it_was_asked(tmp_path):
    trials = trials_of(ASKED)
    asked = from_mapping(ASKED["experiment"])
    files.write(tmp_path / "experiment.toml", asked, {**trials.asked, "replicates": 2})
    again = files.read(tmp_path / "experiment.toml")
    for name in ("replicates", "numbers", "search"):
        assert again[name] == ASKED[name]
    assert from_mapping(again["experiment"]) == asked
    assert trials_of(again) == trials
    assert to_mapping(from_mapping(to_mapping(asked))) == to_mapping(asked)


def test_what_a_sweep_writes_asks_for_the_same_trials(tmp_path):
    trials = Space({"momentum.momentum": 0.9}, optimizer=choice(["sgd", "momentum"]), learning_rate=0.1).grid()
    asked = Experiment(data="digits", model="linear", epochs=1, batch_size=512)
    first = sweep(asked, trials, 2, tmp_path / "first", width=2)
    tables = files.read(tmp_path / "first" / "experiment.toml")
    again = sweep(
        from_mapping(tables["experiment"]), trials_of(tables), tables["replicates"], tmp_path / "again", width=2
    )
    assert again.trial.values.tolist() == first.trial.values.tolist()
    np.testing.assert_array_equal(again.train_loss, first.train_loss)
    resumed = files.resume(tmp_path / "first")
    assert (resumed.experiment, resumed.replicates) == (asked, 2)
    assert [trial.hparams for trial in resumed.trials] == [trial.hparams for trial in trials]


def test_choices_of_none_come_back_from_a_file(tmp_path):
    """TOML has no null."""
    space = Space(learning_rate=0.1, augment=choice([None, raising_augmentation]))
    files.write(tmp_path / "experiment.toml", EXPERIMENT, {**space.grid().asked, "replicates": 1})
    again = files.space_of(files.read(tmp_path / "experiment.toml"))
    assert again.choices["augment"].options == (None, raising_augmentation)


def test_the_example_at_the_head_of_the_file_module_can_be_read():
    text = files.__doc__.partition("\n\n")[2]
    tables = tomllib.loads(text)
    assert len(trials_of(tables)) == 16
    assert from_mapping(tables["experiment"]).data == "digits"


BAD_FILES = {
    "no TOML": ("[experiment\n", "is no valid TOML"),
    "an unknown table": ("[experimnet]\n", "Did you mean 'experiment'"),
    "an unknown field": ("[experiment]\nepoch = 3\n", "Did you mean 'epochs'"),
    "an unknown distribution": ("[numbers]\nl2 = {loguniform = [1, 2]}\n", "Did you mean 'log_uniform'"),
    "two kinds": ("[numbers]\nl2 = {uniform = [1, 2], integer = [1, 2]}\n", "expected one kind"),
    "one end": ("[numbers]\nl2 = {uniform = [1]}\n", "expected 2 numbers, [low, high]"),
    "a step that is missing": ("[numbers]\nl2 = {quantized = [1, 2]}\n", "expected 3 numbers, [low, high, step]"),
    "no spread": ("[numbers]\nl2 = {normal = [0, 0]}\n", "std above 0"),
    "ends that are words": ('[numbers]\nl2 = {uniform = ["a", "b"]}\n', "l2"),
    "a search of two kinds": (
        "[numbers]\nl2 = 1\n[search]\nrandom = 3\npoints = {l2 = 1}\n", "both points and random"),
    "an unknown search": ("[numbers]\nl2 = 1\n[search]\nrandm = 3\n", "Did you mean 'random'"),
    "no points": ("[numbers]\nl2 = {uniform = [0, 1]}\n", "no number of points for 'l2'"),
    "an empty space": ("[experiment]\n", "got no entries"),
    "a choice that is no list": ('[choices]\noptimizer = "adam"\n', "optimizer"),
    "a function that is not there": ('[choices]\noptimizer = ["optax:lyon"]\n', "'optax:lyon', which was not found"),
    "a function that is spelt wrongly": ('[choices]\noptimizer = ["optax:adamm"]\n', "Did you mean 'adam'"),
    "a table that is a number": ("numbers = 3\n", "numbers"),
    "replicates that are words": ('replicates = "three"\n[numbers]\nl2 = 1\n', "replicates='three'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_one_line(tmp_path, monkeypatch, capsys, name):
    from jaxopt_intro import cli

    monkeypatch.chdir(tmp_path)
    text, expected = BAD_FILES[name]
    (tmp_path / "experiment.toml").write_text(text)
    assert cli.main(["sweep", "experiment.toml"]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["experiment.toml"]


def test_a_run_on_arrays_can_only_go_on_in_python(tmp_path):
    sweep(EXPERIMENT, TWO, directory=tmp_path / "run", width=2)
    with pytest.raises(ValueError, match=r"on arrays in memory.*call sweep again with the same arrays"):
        files.resume(tmp_path / "run")
