"""Which way a convolution is computed: measured, remembered, decided before, forced, and said."""

from __future__ import annotations

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import lax

from jaxopt_intro import Experiment, Space, cli, models, sweep, terminal
from jaxopt_intro.models import layers
from jaxopt_intro.models.layers import lowering, planning, remembered
from tests.small import of

DEVICE = jax.local_devices()[0]
X, W = jnp.ones((4, 6, 5, 2)), jnp.ones((3, 3, 2, 4))


def convolved(x, w):
    return layers.conv(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def gradients(x, w):
    return jax.grad(lambda *operands: jnp.sum(jnp.square(convolved(*operands))), (0, 1))(x, w)


def by_array(plan):
    words = {"convolution": "outputs", "input": "images", "kernel": "kernel"}
    return {words[choice.what.split(" ")[0]]: choice for choice in plan.choices}


@pytest.fixture
def nothing_known(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXOPT_INTRO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_each_array_is_measured_once_and_then_remembered(nothing_known):
    first = planning.plan_for(gradients, X, W)
    again = planning.plan_for(gradients, X, W)
    assert {a: c.why for a, c in by_array(first).items()} == dict.fromkeys(("outputs", "images", "kernel"), "measured")
    assert {a: c.why for a, c in by_array(again).items()} == dict.fromkeys(
        ("outputs", "images", "kernel"), "remembered"
    )
    assert [c.name for c in first.choices] == [c.name for c in again.choices]
    for choice in first.choices:
        times = dict(choice.microseconds)
        assert len(times) > 1
        assert times[choice.name] == min(times.values())
    (file,) = (nothing_known / "convolutions").glob("*.json")
    assert set(json.loads(file.read_text())) == {choice.what for choice in first.choices}


def test_a_file_that_cannot_be_read_is_measured_again(nothing_known):
    planning.plan_for(convolved, X, W)
    remembered.file_for(DEVICE).write_text("{")
    assert planning.plan_for(convolved, X, W).choices[0].why == "measured"


def test_what_other_processes_measured_stays(nothing_known):
    planning.plan_for(convolved, X, W)
    planning.plan_for(convolved, X[:2], W)
    assert len(remembered.read(DEVICE)) == 2


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXOPT_INTRO_CACHE", str(tmp_path / "file"))
    assert planning.plan_for(convolved, X, W).choices[0].why == "measured"


def test_forced_decided_and_what_time_does_not_allow(nothing_known):
    forced = planning.plan_for(gradients, X, W, force={"kernel": "im2col", "outputs": "rows"}, seconds=0)
    found = by_array(forced)
    assert (found["kernel"].name, found["kernel"].why) == ("im2col", "forced")
    assert (found["outputs"].name, found["outputs"].why) == ("rows", "forced")
    usual = planning.plan_for(gradients, X, W, seconds=0)
    assert {c.why for c in usual.choices} == {"not worth measuring"}
    decided = planning.plan_for(gradients, X, W, known={found["kernel"].what: "rows"}, seconds=0)
    assert (by_array(decided)["kernel"].name, by_array(decided)["kernel"].why) == ("rows", "decided before")
    assert not (nothing_known / "convolutions").exists()


def test_patches_that_memory_has_no_room_for_are_not_tried(nothing_known):
    (choice,) = planning.plan_for(convolved, X, W, memory=0).choices
    assert dict(choice.microseconds).keys() >= {"xla", "xla row"}
    assert "im2col" not in dict(choice.microseconds)
    assert "im2col" in dict(planning.plan_for(convolved, X[:3], W).choices[0].microseconds)
    assert by_array(planning.plan_for(gradients, X, W, force={"kernel": "im2col"}))["kernel"].buffer == 4 * 4 * 30 * 18


def test_what_is_outside_of_the_fast_set_is_named():
    def volume(x, w):
        return layers.conv(x, w, (1, 1, 1), "SAME", dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))

    plan = planning.plan_for(volume, jnp.ones((2, 3, 4, 5, 2)), jnp.ones((3, 3, 3, 2, 4)))
    assert plan.choices == ()
    assert plan.others == ("convolution of 2x3x4x5x2 * 3x3x3x2x4, float32",)
    assert "XLA's own" in str(plan)


@pytest.mark.parametrize("ways", [{"kernels": "im2col"}, {"kernel": "im2co"}])
def test_ways_that_are_not_known_are_refused(ways):
    with pytest.raises(ValueError, match="unknown"):
        planning.plan_for(convolved, X, W, force=ways)


def ways_in(function, *args):
    """The ways that are compiled into a program, by array."""
    plans = [e.params["plan"] for e in planning.equations(jax.make_jaxpr(function)(*args).jaxpr) if "plan" in e.params]
    return {choice.name for held in plans if held is not None for choice in held.plan.choices}


def test_a_plan_is_in_force_where_a_function_is_lowered_that_was_traced_before(nothing_known):
    step = jax.jit(functools.partial(gradients))
    plan = planning.plan_for(step, X, W, force={"kernel": "im2col", "outputs": "im2col", "images": "im2col"})
    with layers.using(plan):
        assert "stablehlo.convolution" not in step.lower(X, W).as_text()
    assert "stablehlo.convolution" in jax.jit(functools.partial(gradients)).lower(X, W).as_text()


def test_a_plan_is_in_force_where_a_model_is_traced_and_nowhere_else():
    model = models.convnet(outputs=3, channels=4)
    images = jnp.ones((2, 8, 8))
    plan = layers.plan(model, images, force={"outputs": "rows", "kernel": "im2col"}, seconds=0)
    params, state = model.init(jax.random.key(0), images, {})

    def outputs(model):
        return lambda p: model.apply(p, state, images, train=True, key=jax.random.key(1), hparams={})[0]

    planned = layers.planned(model, plan)
    assert ways_in(outputs(planned), params) >= {"rows"}
    assert ways_in(outputs(model), params) == set()
    np.testing.assert_allclose(outputs(planned)(params), outputs(model)(params), rtol=2e-5, atol=2e-5)


def test_the_plan_of_a_population_is_of_its_members_side_by_side():
    plan = layers.plan(
        models.convnet(outputs=3, channels=(4, 5)), (jnp.ones((2, 8, 8)), jnp.zeros(2, jnp.int32)), 3, seconds=0
    )
    assert any("3 members" in choice.what for choice in plan.choices)
    assert any("* 3x3x12" in choice.what for choice in plan.choices)  # the first layer's kernels, as one


@pytest.mark.parametrize("wanted", list(lowering.WAYS))
@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_the_usual_way_is_one_of_the_candidates(wanted, platform):
    from tests.models.test_convolution import GEOMETRIES

    for geometry in GEOMETRIES:
        for members in (None, 3):
            one = geometry if members is None else geometry._replace(members=members)
            every = lowering.candidates(wanted, one, platform)
            assert lowering.usual(wanted, one, platform) in (every or ["xla", "xla in turn"])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda model, x: layers.plan(Net, x), "plan: got Net; expected a Model"),
        (lambda model, x: layers.plan(model, x, 0), "got width=0"),
        (lambda model, x: layers.plan(model, x, 2.5), "got width=2.5"),
        (lambda model, x: layers.plan(model, x[:0]), "no examples"),
        (lambda model, x: layers.planned(model, {"kernel": "im2col"}), "got a plan of type dict"),
    ],
)
def test_what_cannot_be_planned_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(models.convnet(outputs=3), jnp.ones((2, 8, 8)))


def test_every_way_is_said():
    lines = terminal.listing("convolutions")
    for what, ways in lowering.WAYS.items():
        for name in ways:
            assert any(line.startswith(f"{what}={name} ") for line in lines)


# The adapters.


class Net(nnx.Module):
    def __init__(self, *, rngs, conv=None):
        own = {} if conv is None else {"conv_general_dilated": conv}
        self.conv = nnx.Conv(1, 4, (3, 3), rngs=rngs, **own)

    def __call__(self, x):
        return self.conv(x)


class Linen(linen.Module):
    own: object = None

    @linen.compact
    def __call__(self, x):
        return linen.Conv(4, (3, 3), conv_general_dilated=self.own)(x)


def primitives(model):
    images = jnp.ones((2, 6, 6, 1))
    params, state = model.init(jax.random.key(0), images, {})
    program = jax.make_jaxpr(lambda p: model.apply(p, state, images, train=True, key=None, hparams={})[0])(params)
    return {e.primitive.name for e in planning.equations(program.jaxpr)}


@pytest.mark.parametrize(
    "make", [lambda **options: models.from_nnx(Net, **options), lambda **options: models.from_linen(Linen(), **options)]
)
def test_adapters_put_our_convolution_in_unless_told_not_to(make):
    assert "convolution" in primitives(make())
    assert primitives(make(conv=None)) >= {"conv_general_dilated"}


def test_a_modules_own_convolution_stays():
    called = []

    def own(*args, **kwargs):
        called.append(args)
        return lax.conv_general_dilated(*args, **kwargs)

    assert "convolution" not in primitives(models.from_nnx(lambda *, rngs: Net(rngs=rngs, conv=own)))
    assert called
    called.clear()
    assert "convolution" not in primitives(models.from_linen(Linen(own=own)))
    assert called


# In a sweep.


@pytest.fixture(scope="module")
def run(tmp_path_factory, compiled_once):
    del compiled_once
    directory = tmp_path_factory.mktemp("runs") / "run"
    experiment = Experiment(data="digits", model="convnet", optimizer="sgd", epochs=1, batch_size=256)
    found = sweep(
        experiment, Space(learning_rate=0.1).grid(), directory=directory, width=1, convolutions={"kernel": "im2col"}
    )
    return experiment, directory, found


def test_a_sweep_says_how_convolutions_were_computed(run, capsys):
    _, directory, _ = run
    (plan,) = of(directory, "plan")
    kernel = [c for c in plan["convolutions"] if c["what"].startswith("kernel gradient")]
    assert kernel
    assert {(c["name"], c["why"]) for c in kernel} == {("im2col", "forced")}
    (receipt,) = of(directory, "receipt")
    assert receipt["groups"][0]["convolutions"] == plan["convolutions"]
    terminal.Terminal().receipt(receipt, {})
    said = capsys.readouterr().out
    assert "x kernel gradient (kernel): im2col (forced" in said
    assert "x convolution (outputs): " in said


def test_a_run_that_goes_on_computes_as_it_did(run):
    experiment, directory, _ = run
    trials = Space(learning_rate=0.1).grid() + Space(learning_rate=0.2).grid()
    sweep(experiment, trials, directory=directory)
    first, last = of(directory, "plan")[0], of(directory, "receipt")[-1]
    assert [c["name"] for c in last["groups"][0]["convolutions"]] == [c["name"] for c in first["convolutions"]]
    assert len(of(directory, "plan")) == 1


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("kernel", "expected WHAT=WAY"),
        ("kernel=im2co", "Did you mean 'im2col'"),
        ("kernels=im2col", "Did you mean 'kernel'"),
    ],
)
def test_the_command_refuses_ways_that_are_not_known(word, said, tmp_path, capsys):
    asked = ["sweep", "--data", "digits", "--model", "convnet", "--directory", str(tmp_path / "run")]
    assert cli.main([*asked, "--convolution", word]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
