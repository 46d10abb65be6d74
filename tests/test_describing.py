"""What a sweep would be, before it runs: as Python and as `sweep --dry-run`; and what is refused before any compile."""

from __future__ import annotations

import inspect
import re
import tempfile

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import linen, nnx

from jaxopt_intro import Experiment, Space, Trial, choice, cli, describe, integer, log_uniform, sweep, uniform
from jaxopt_intro.experiment import describing, grouping
from jaxopt_intro.typing import Model
from tests.small import DATA, of

ASKED = {"data": DATA, "model": "linear", "optimizer": "sgd", "epochs": 1, "batch_size": 10}
RATE = [Trial({"learning_rate": 0.1})]


class Net(nnx.Module):
    def __init__(self, *, outputs, width=4, slope=0.1, rngs):
        self.hidden = nnx.Linear(4, int(width), rngs=rngs)
        self.out, self.slope = nnx.Linear(int(width), outputs, rngs=rngs), slope

    def __call__(self, x):
        return self.out(nnx.leaky_relu(self.hidden(x), self.slope))


SPACE = Space(
    width=integer(3, 5),
    slope=uniform(0.0, 0.5),
    learning_rate=log_uniform(1e-3, 1.0),
    optimizer=choice(["adam", "sgd"]),
)


@pytest.fixture(scope="module")
def described():
    return describe(Experiment(**{**ASKED, "model": Net}), SPACE.grid(width=3, slope=2, learning_rate=4), 2, width=4)


def test_each_number_says_how_it_is_staged_where_it_goes_and_what_was_asked(described):
    numbers = {n.name: n for n in described.numbers}
    assert {name: n.traced for name, n in numbers.items()} == {"width": False, "slope": True, "learning_rate": True}
    assert numbers["learning_rate"].canonical == ("optimizer.adam.learning_rate", "optimizer.sgd.learning_rate")
    assert (numbers["slope"].low, numbers["slope"].high, numbers["slope"].values) == (0.0, 0.5, 2)
    lines, first = inspect.getsourcelines(Net.__init__)
    at = next(i for i, line in enumerate(lines) if "self.hidden" in line)
    assert numbers["width"].reason == f"a shape at test_describing.py:{first + at}: {lines[at].strip()}"


def test_each_program_is_counted(described):
    assert len(described.programs) == 6
    assert {(p.trials, p.members, p.estimate.width, p.estimate.tiles) for p in described.programs} == {(8, 16, 4, 4)}
    adam, sgd = (next(p for p in described.programs if f"{name}, width 3" in p.title) for name in ("adam", "sgd"))
    # Parameters (4 x 3 + 3, 3 x 3 + 3), as the state and as the best; Adam's two averages; a few counters and a key.
    counters = adam.estimate.lane_bytes - 4 * 4 * 27, sgd.estimate.lane_bytes - 2 * 4 * 27
    assert all(0 < c < 64 for c in counters)


def test_it_prints_and_shows_the_same(described):
    text, page = str(described), described._repr_html_()
    for words in (
        "traced",
        "compiled",
        "a shape at test_describing.py",
        "optimizer.adam.learning_rate",
        "4 tiles of 4 lanes",
    ):
        assert words in text
        assert words in page
    assert "In all 48 trials, 96 members, 6 programs: about " in text
    assert page.count("<tr>") == 1 + 3 + 1 + 6
    assert (
        "<lambda>"
        not in describing.Description(
            [describing.Number("a", ("b",), False, "a branch at x.py:1: <lambda>", 0, 1, None)], [], "cpu", True, 0
        )._repr_html_()
    )  # escaped


def test_a_space_is_described_without_counts():
    found = describe(Experiment(**{**ASKED, "model": Net}), SPACE)
    assert [p.title for p in found.programs] == ["optimizer adam", "optimizer sgd"]
    assert {p.trials for p in found.programs} == {None}
    assert {n.name: (n.low, n.high) for n in found.numbers} == {
        "width": (3, 5), "slope": (0.0, 0.5), "learning_rate": (0.001, 1.0)
    }  # fmt: skip
    assert "In all 2 programs for each value of a compiled number" in str(found)


def test_both_ends_of_a_space_have_to_be_legal():
    with pytest.raises(ValueError, match=r"optimizer sgd: got learning_rate=-0\.5"):
        describe(Experiment(**ASKED), Space(learning_rate=uniform(-0.5, 1.0)))
    with pytest.raises(ValueError, match=r"optimizer momentum: got momentum=1\.5"):
        describe(Experiment(**{**ASKED, "optimizer": "momentum"}), Space(learning_rate=0.1, momentum=uniform(0.5, 1.5)))


def test_a_sweep_has_the_trials_members_and_programs_that_were_described(tmp_path, described):
    experiment = Experiment(**{**ASKED, "model": Net})
    trials = SPACE.grid(width=2, slope=1, learning_rate=2)
    found = describe(experiment, trials, 2, width=2)
    sweep(experiment, trials, 2, tmp_path / "run", width=2)
    (receipt,) = of(tmp_path / "run", "receipt")
    assert sum(p.members for p in found.programs) == receipt["members"]
    assert [(p.title, p.members) for p in found.programs] == [(g["title"], g["members"]) for g in receipt["groups"]]
    reasons = {reason for record in of(tmp_path / "run", "trial") for reason in record["compiled"].values()}
    assert reasons == {n.reason for n in found.numbers if not n.traced}
    # Seconds on a busy machine say little; these are wrong only by an order.
    compiling = sum(p.estimate.compile_seconds for p in found.programs)
    assert 0.1 < receipt["compile_seconds"] / compiling < 10


def test_more_work_is_estimated_to_take_longer():
    def estimates(**fields):
        return describe(Experiment(**{**ASKED, **fields}), RATE, width=1).programs[0].estimate

    small, long, wide, heavy = (
        estimates(**fields)
        for fields in ({}, {"epochs": 400}, {"model": "mlp"}, {"model": "mlp", "optimizer": "shampoo"})
    )
    assert long.run_seconds > 20 * small.run_seconds
    assert heavy.run_seconds > wide.run_seconds > small.run_seconds
    assert heavy.compile_seconds > wide.compile_seconds > small.compile_seconds
    assert wide.lane_bytes > small.lane_bytes
    assert long.compile_seconds == small.compile_seconds


def test_no_program_of_the_sweep_is_compiled():
    names = []
    listener = lambda event, seconds, **told: names.append(told["fun_name"]) if "backend_compile" in event else None  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        describe(Experiment(**{**ASKED, "model": "mlp"}), RATE)
        described = list(names)
        sweep(Experiment(**{**ASKED, "model": "mlp"}), RATE, directory=tempfile.mkdtemp() + "/run", width=1)
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
    programs = {"jit(segment)", "jit(validate)"}
    assert not programs.intersection(described)
    assert programs.intersection(names)  # as a sweep does


# -- the command -----------------------------------------------------------------------------------------------

SMALL = ["sweep", "--data", "digits", "--model", "linear", "--optimizer", "sgd", "--epochs", "1", "--dry-run"]


def test_a_dry_run_prints_and_leaves_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--log-uniform", "learning_rate", "1e-3", "1", "--points", "learning_rate=4", "--replicates", "2"]
    code = cli.main([*SMALL, *words, "--directory", "run", "--width", "2"])
    shown = capsys.readouterr()
    assert code == 0
    assert not shown.err
    assert re.search(r"learning_rate +traced +4 values, 0\.001 to 1 +optimizer\.sgd\.learning_rate", shown.out)
    assert "In all 4 trials, 8 members, 1 program: about " in shown.out
    assert not list(tmp_path.iterdir())


MISTAKES = {
    "a number that no part takes": (["--constant", "learning_rat", "1"], "Did you mean 'learning_rate'?"),
    "a value outside the domain": (["--constant", "learning_rate", "-1"], "got learning_rate=-1"),
    "an end outside the domain": (
        ["--uniform", "learning_rate", "-1", "1", "--points", "learning_rate=2"], "got learning_rate=-1"),
    "an impossible range": (["--log-uniform", "learning_rate", "0", "1", "--points", "learning_rate=2"], "low=0"),
    "a way that is none": (["--constant", "learning_rate", "1", "--convolution", "kernel=magic"], "'magic'"),
    "a missing number": (["--constant", "learning_rate", "1", "--penalty", "l2"], "'l2'"),
    "a width that no memory holds": (
        ["--constant", "learning_rate", "1", "--width", "1000000000000"], "Use a smaller width"),
    "a swept loss that a pruner looks at": (
        ["--constant", "learning_rate", "1", "--choice", "loss", "softmax_cross_entropy", "weston_watkins", "--pruner",
         "asha", "metric=loss"], "pruner asha: metric 'loss': got a sweep over the loss itself"),
    "an average that a pruner looks at and nobody keeps": (
        ["--constant", "learning_rate", "1", "--pruner", "asha", "metric=average_accuracy"],
        "pruner asha: metric 'average_accuracy': got an optimizer without an average"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_the_same_line_of_a_dry_run_and_of_a_sweep(capsys, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    words, expected = MISTAKES[name]
    said = []
    for asked in ([*SMALL, *words], [*SMALL[:-1], *words]):
        assert cli.main(asked) == 2
        said.append(capsys.readouterr().err)
    assert said[0] == said[1]
    assert expected in said[0]
    assert said[0].count("\n") == 1
    assert not list(tmp_path.iterdir())


BROKEN = {
    "what it computes": ("ratio = 1\nratio = ratio / 0\n", "ZeroDivisionError at {}.py:2: ratio = ratio / 0: division"),
    "its syntax": ("def loss(outputs, targets)\n    return 0\n", "SyntaxError: expected ':' ({}.py, line 1)"),
    "what it raises": ("raise KeyError('a\\nb')\n", "KeyError at {}.py:1: raise KeyError("),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_module_that_raises_when_it_is_imported_is_one_line(capsys, tmp_path, monkeypatch, name):
    text, expected = BROKEN[name]
    module = f"broken_{list(BROKEN).index(name)}"
    (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert cli.main([*SMALL, "--constant", "learning_rate", "1", "--loss", f"{module}:loss"]) == 2
    error = capsys.readouterr().err
    assert f"loss: got '{module}:loss', but importing {module} raised {expected.format(module)}" in error
    assert error.count("\n") == 1


def test_an_empty_file_of_numbers_is_refused(capsys, tmp_path):
    (tmp_path / "asked.toml").write_text('[experiment]\ndata = "digits"\n')
    assert cli.main(["sweep", str(tmp_path / "asked.toml"), "--dry-run"]) == 2
    assert "Space: got no entries" in capsys.readouterr().err


# -- parts of a user's that raise, or return what they should not ----------------------------------------------


def raises_key_error(*arrays, **given):
    raise KeyError("mine")


def raises_value_error(outputs, targets):
    raise ValueError("not today")


def branches(outputs, targets):
    return outputs.sum(1) if outputs.sum() > 0 else targets


def of_update(update):
    def mine(learning_rate):
        del learning_rate
        return optax.GradientTransformation(lambda params: jnp.zeros(()), update)

    return mine


def named(function):
    function.__name__ = "mine"
    return function


def init(key, example, hparams):
    return {"w": jnp.ones((4, 3))}, {}


def apply(params, model_state, x, *, train, key, hparams):
    return x @ params["w"], model_state


class Silent(linen.Module):
    @linen.compact
    def __call__(self, x):
        linen.Dense(3)(x)


HERE = "at test_describing.py:"
GIVEN = {
    "a loss that raises": ({"loss": raises_key_error}, ["raises_key_error raised KeyError", HERE, "'mine'"]),
    "a loss that refuses": ({"loss": raises_value_error}, ["raises_value_error raised ValueError", HERE, "not today"]),
    "a loss that branches": ({"loss": branches}, ["branches raised", HERE, "a branch on an array", "jnp.where"]),
    "a loss of a scalar": ({"loss": named(lambda o, t: o.mean())}, ["loss mine: got an array of shape ()"]),
    "a loss of words": ({"loss": named(lambda o, t: "low")}, ["loss mine: got a str", "one value for each example"]),
    "a loss of integers": ({"loss": named(lambda o, t: o.argmax(-1))}, ["loss mine", "int32", "expected floats"]),
    "a loss of truths": ({"loss": named(lambda o, t: o.argmax(-1) == t)}, ["loss mine", "bool", "expected floats"]),
    "a loss of one argument": ({"loss": named(lambda o: o)}, ["takes 1 positional argument but 2 were given"]),
    "a metric of nothing": (
        {"metrics": [named(lambda o, t: None)], "objective": "loss"}, ["metric mine: got a NoneType"]),
    "a metric of a scalar": ({"metrics": [named(lambda o, t: o.mean())], "objective": "loss"}, ["metric mine", "()"]),
    "a complex metric": (
        {"metrics": [named(lambda o, t: 1j * o[:, 0])], "objective": "loss"}, ["metric mine", "expected real numbers"]),
    "a penalty of an array": ({"penalty": named(lambda p: jnp.ones(3))}, ["penalty mine", "(3,)", "a scalar"]),
    "a complex penalty": ({"penalty": named(lambda p: jnp.ones(()) * 1j)}, ["penalty mine", "complex64"]),
    "an augmentation of nothing": ({"augment": named(lambda x, *, key: None)}, ["augmentation mine: got a NoneType"]),
    "an augmentation that crops": (
        {"augment": named(lambda x, *, key: x[:, :2])}, ["augmentation mine", "(10, 2)", "expected shape (10, 4)"]),
    "an augmentation of half the pair": (
        {"augment": named(lambda x, targets, *, key: x)}, ["augmentation mine", "(inputs, targets)"]),
    "a model's init": ({"model": Model(lambda k, e, h: {}, apply, ())}, ["model model: its `init` returned a dict"]),
    "a model's apply": (
        {"model": Model(init, lambda p, s, x, **told: x @ p["w"], ())}, ["its `apply` returned an array"]),
    "a model's state": (
        {"model": Model(init, lambda p, s, x, **told: (x @ p["w"], {"n": 1}), ())},
        ["model model: its state after a step", "{'n': *}", "expected a tree {}"]),
    "a model of no module": (
        {"model": named(lambda *, rngs: None)}, ["model mine: got a NoneType", "nnx.Module"]),
    "a model that is none": ({"model": named(lambda: 3)}, ["model mine: got a int", "a Model"]),
    "a model without outputs": ({"model": Silent}, ["model Silent: got a NoneType as its outputs"]),
    "no optimizer": ({"optimizer": named(lambda learning_rate: None)}, ["optimizer mine: got a NoneType"]),
    "no wrapper": ({"wrap": named(lambda inner: 3)}, ["wrapper mine: got an int", "expected an optimizer"]),
    "updates alone": ({"optimizer": of_update(lambda u, s, p=None: u)}, ["optimizer mine", "a pair, (updates, state)"]),
    "updates of another shape": (
        {"optimizer": of_update(lambda u, s, p=None: (jax.tree.map(jnp.sum, u), s))},
        ["optimizer mine: its updates", "expected shape (3,)"]),
    "a state that grows": (
        {"optimizer": of_update(lambda u, s, p=None: (u, jnp.zeros(2)))},
        ["optimizer mine: its state after a step", "(2,)", "expected shape ()"]),
    "a schedule of a number": ({"schedule": named(lambda: 0.5)}, ["schedule mine: got a float", "step -> factor"]),
    "a schedule of nothing": ({"schedule": named(lambda: lambda step: None)}, ["schedule mine: got a NoneType"]),
    "an after_update of nothing": ({"after_update": named(lambda p: None)}, ["after_update mine: got a NoneType"]),
}  # fmt: skip


@pytest.mark.parametrize("name", GIVEN)
def test_a_part_that_is_wrong_is_named_with_what_it_returned_and_what_was_expected(name):
    fields, expected = GIVEN[name]
    experiment = Experiment(**{**ASKED, **fields})
    with pytest.raises(ValueError) as refused:
        grouping.stage(experiment, DATA, RATE)
    assert all(words in str(refused.value) for words in expected), refused.value
    assert "\n" not in str(refused.value)
