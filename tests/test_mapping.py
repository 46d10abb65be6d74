"""Maps: where they look, what a point gives, arrows, zooms, and that a map goes on where it stopped."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from jaxopt_intro import Experiment, Space, choice, journal, landscape, log_uniform, results, sweep, uniform, zoomed
from jaxopt_intro.distributions import integer
from jaxopt_intro.experiment import mapping, points, refining
from jaxopt_intro.experiment.arrows import judged
from jaxopt_intro.results import maps
from jaxopt_intro.sweeps.space import Trial
from tests.small import DATA

pytestmark = pytest.mark.usefixtures("compiled_once")

EXPERIMENT = Experiment(data=DATA, model="mlp", optimizer="sgd", penalty="l2", batch_size=10, epochs=6)
SPACE = Space(learning_rate=log_uniform(1e-2, 100.0), l2=log_uniform(1e-4, 1.0), widths=(4,))
SMALL = {"resolution": 32, "width": 32}


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """A map with arrows, of 289 + 128 of 1,089 points, with up to three seeds near the best."""
    directory = tmp_path_factory.mktemp("mapped") / "map"
    return landscape(EXPERIMENT, SPACE, directory, points=417, replicates=3, **SMALL)


def lanes_of(found):
    return maps.read_lanes(maps.Path(found.attrs["map"]))


# -- where a map looks ----------------------------------------------------------------------------------------


def circle(points, side):
    """A cone that falls to a cliff at a circle, beyond which everything diverges."""
    y, x = points.T / side
    away = np.hypot(x - 0.45, y - 0.55)
    return np.where(away < 0.31, 1.0 - away, np.nan)


def explored(field, resolution, budget, tolerance=0.02):
    """What refinement knows of a field after so many points: values, where it diverged, and what is known."""
    side, asked = resolution + 1, refining.coarse(resolution)
    values, diverged = np.full((side, side), np.nan), np.zeros((side, side), bool)
    while len(asked):
        found = field(asked, resolution)
        values[tuple(asked.T)], diverged[tuple(asked.T)] = found, np.isnan(found)
        known = ~np.isnan(values) | diverged
        asked = refining.steepest(values, diverged, min(64, budget - known.sum()), tolerance=tolerance)
    return values, diverged, known


def test_refinement_finds_the_whole_edge():
    every = np.stack(np.meshgrid(*[np.arange(129)] * 2, indexing="ij"), -1).reshape(-1, 2)
    truth = circle(every, 128).reshape(129, 129)
    values, diverged, known = explored(circle, 128, 3_000)
    over = maps.fill(np.where(known, diverged, np.nan), known) >= 0.5
    assert known.sum() == 3_000
    assert (over == np.isnan(truth)).all()  # every one of 16,641 points is on its side of the edge
    np.testing.assert_array_equal(values[known], truth[known])


def test_refinement_spends_its_points_at_the_edge():
    _, _, known = explored(circle, 128, 1_500)
    row, column = np.nonzero(known)
    away = np.abs(np.hypot(column / 128 - 0.45, row / 128 - 0.55) - 0.31)
    added = len(row) - 289
    assert (away < 1.5 / 16).sum() > 0.8 * added


def test_no_point_is_spent_on_what_is_flat():
    gentle = explored(lambda p, side: p[:, 0] / side * 0.0 + 0.5, 64, 4_000)[2]
    assert gentle.sum() == 289
    ramp = explored(lambda p, side: p[:, 0] / side, 64, 4_000, tolerance=0.05)[2]
    assert 289 < ramp.sum() < 4_000  # until neighbours differ by less than 5 % of the range


def test_points_come_once_and_fill_the_count():
    values = np.full((65, 65), np.nan)
    values[::4, ::4] = np.random.default_rng(0).normal(size=(17, 17))
    asked = refining.steepest(values, np.zeros((65, 65), bool), 100, tolerance=0.02)
    assert len(asked) == 100
    assert len(np.unique(asked, axis=0)) == 100
    assert np.isnan(values[tuple(asked.T)]).all()


def test_seeds_go_where_the_best_is_in_doubt():
    truth, draw = np.array([[0.80, 0.79, 0.7, 0.3, 0.2]]), np.random.default_rng(0)
    seeds, sums = np.zeros((1, 5), int), np.zeros((1, 5))
    asked, most = np.array([[0, column] for column in range(5)] * 2), 400
    while len(asked):
        np.add.at(sums, tuple(asked.T), truth[tuple(asked.T)] + 0.05 * draw.normal(size=len(asked)))
        np.add.at(seeds, tuple(asked.T), 1)
        asked = refining.contested(sums / seeds, seeds, 0.05, 8, sign=1.0, most=most)
    assert (seeds[0, 3:] == 2).all()  # far behind from the start
    assert seeds[0, 2] < 30
    assert seeds[0, :2].min() > 40  # one hundredth apart, with a deviation of 5


def test_less_is_better_where_the_objective_says_so():
    means, seeds = np.array([[0.1, 0.5, np.nan]]), np.array([[2, 2, 2]])
    assert refining.contested(means, seeds, 0.01, 9, sign=-1.0, most=3).tolist() == [[0, 0]]


def test_what_to_do_next_is_at_most_half_seeds(mapped):
    record = maps.read_asked(maps.Path(mapped.attrs["map"]))
    lanes = maps.Lanes(*(values[:289] for values in lanes_of(mapped)))
    chosen, seeds = mapping.next_round(lanes, record, 417)
    assert len(chosen) == record["round"]
    assert 0 < (seeds > 0).sum() <= record["round"] // 2


# -- what a point gives ---------------------------------------------------------------------------------------


def test_a_map_has_its_budget_and_no_more(mapped):
    lanes = lanes_of(mapped)
    assert len(lanes.row) == mapped.attrs["trainings"] == 417
    places = np.stack([lanes.row, lanes.column, lanes.seed], 1)
    assert len(np.unique(places, axis=0)) == 417
    assert mapped.seeds.sum() == 417
    assert 1 < mapped.seeds.max() <= 3
    assert mapped.objective.dims == ("l2", "learning_rate")
    assert 0.05 < (mapped.diverged > 0).mean().item() < 0.95


def test_a_point_is_what_a_sweep_says(mapped, tmp_path):
    known = np.argwhere((mapped.seeds.values == 1) & (mapped.diverged.values == 0))
    chosen = known[:: len(known) // 5][:5]
    trials = [
        Trial({"learning_rate": mapped.learning_rate.values[c], "l2": mapped.l2.values[r]}, {"widths": (4,)},
              {"widths": "(4,)"})
        for r, c in chosen
    ]  # fmt: skip
    found = sweep(EXPERIMENT, trials, directory=tmp_path / "run", width=5).isel(seed=0, epoch=-1)
    found = found.sortby("learning_rate")
    own = mapped.isel(l2=("p", chosen[:, 0]), learning_rate=("p", chosen[:, 1])).sortby("learning_rate")
    np.testing.assert_allclose(own.loss, found.valid_loss, rtol=1e-4)
    np.testing.assert_allclose(own.objective, found.valid_accuracy, atol=1e-6)


def ready(experiment=EXPERIMENT, space=SPACE, precision="float32", width=32):
    asked = mapping._asked(experiment, space, 32, 1, False, precision)
    names = [asked.record["x"]["name"], asked.record["y"]["name"], *asked.record["constants"]]
    of = points.problem(asked.program, asked.dataset, "accuracy", "max", names, precision)
    return of, points.ready(of, 100, width, lambda text: None), asked


def test_a_point_alone_is_bitwise_that_in_company(mapped):
    of, found, asked = ready()
    lanes = lanes_of(mapped)
    for lane in (0, 200, 288, 400):
        point = np.array([[lanes.row[lane], lanes.column[lane]]])
        seeds = lanes.seed[lane : lane + 1]
        alone = points.lanes_of(point, seeds, mapping._train(of, found, asked.record, point, seeds), len(of.rows))
        for name, value in alone._asdict().items():
            np.testing.assert_array_equal(value[0], getattr(lanes, name)[lane], err_msg=name)


@pytest.mark.usefixtures("all_devices")
def test_points_are_the_same_on_any_number_of_devices(mapped, tmp_path):
    found = landscape(EXPERIMENT, SPACE, tmp_path / "map", points=289, arrows=False, **SMALL)
    for own, before in zip(lanes_of(found), lanes_of(mapped), strict=True):
        np.testing.assert_array_equal(own, before[:289])


def test_slowness_is_of_the_losses_on_the_way():
    steps, first = 4, np.array([2.0, 2.0, 2.0])
    found = {
        "objective": np.ones(3), "valid_loss": np.ones(3), "steps": np.array([4, 4, 2]), "first": first,
        "last": np.array([0.5, 3.0, 0.0]), "loss": np.array([4.0, 12.0, 6.0]), "inverse": np.array([3.0, 1.25, 0.75]),
    }  # fmt: skip
    lanes = points.lanes_of(np.zeros((3, 2), int), np.zeros(3, int), found, steps)
    assert lanes.diverged.tolist() == [False, True, True]  # trained; ended above the start; was not finite
    assert lanes.slowness.tolist() == [0.5, 0.625, 0.375]


# -- it goes on -----------------------------------------------------------------------------------------------


def test_a_map_that_was_stopped_goes_on_with_the_same_bits(mapped, tmp_path):
    class Stop(Exception):
        pass

    def stop(record):
        if record.get("done", 0) > 289:
            raise Stop

    again = {"points": 417, "replicates": 3, **SMALL}
    with pytest.raises(Stop):
        landscape(EXPERIMENT, SPACE, tmp_path / "map", listener=stop, **again)
    assert 289 < len(maps.read_lanes(tmp_path / "map").row) < 417
    (tmp_path / "map" / "lanes.tmp").write_bytes(b"half a fi")  # as a kill leaves it
    found = landscape(EXPERIMENT, SPACE, tmp_path / "map", **again)
    for own, whole in zip(lanes_of(found), lanes_of(mapped), strict=True):
        np.testing.assert_array_equal(own, whole)
    for name in ("arrow_right", "arrow_up", "arrow_refused"):
        np.testing.assert_array_equal(found[name], mapped[name])


def test_a_map_takes_more_points_and_a_finished_one_does_nothing(mapped, tmp_path):
    again = {"arrows": False, "replicates": 3, **SMALL}
    landscape(EXPERIMENT, SPACE, tmp_path / "map", points=353, **again)
    found = landscape(EXPERIMENT, SPACE, tmp_path / "map", points=417, **again)
    assert found.attrs["trainings"] == 417
    said = []
    landscape(EXPERIMENT, SPACE, tmp_path / "map", points=417, listener=said.append, **again)
    assert [record["type"] for record in said] == ["directory"]


def test_a_directory_holds_one_map(mapped):
    directory = mapped.attrs["map"]
    with pytest.raises(ValueError, match="asked with replicates=3; got 1"):
        landscape(EXPERIMENT, SPACE, directory, points=417, **SMALL)
    other = Experiment(data=DATA, model="mlp", optimizer="sgd", penalty="l2", batch_size=20, epochs=6)
    with pytest.raises(ValueError, match="asked with batch_size=10; got 20"):
        landscape(other, SPACE, directory, points=417, replicates=3, **SMALL)
    with pytest.raises(ValueError, match="width=16, but this map's is 32"):
        landscape(EXPERIMENT, SPACE, directory, points=417, replicates=3, resolution=32, width=16)


def test_one_writer_at_a_time(mapped):
    with journal.writing(mapped.attrs["map"]), pytest.raises(journal.Locked):
        landscape(EXPERIMENT, SPACE, mapped.attrs["map"], points=417, replicates=3, **SMALL)


# -- arrows ---------------------------------------------------------------------------------------------------


def test_arrows_are_derivatives_of_the_map(mapped):
    """Against central differences of whole trainings, in float64."""
    with jax.enable_x64(True):
        of, found, asked = ready(precision="float64", width=16)
        record = {**asked.record, "resolution": 32}
        rows, columns = np.meshgrid(np.arange(2, 32, 4), np.arange(2, 32, 4), indexing="ij")
        x, y = (maps.lattice(record[side], 32) for side in ("x", "y"))
        x, y, step = x[columns.ravel()], y[rows.ravel()], 1e-5

        def loss(x, y):
            return found.train(np.zeros(len(x), int), {"learning_rate": x, "l2": y})["valid_loss"]

        fields = maps.fields(lanes_of(mapped), 32)
        got = mapping.arrows_of(of, found, record, fields, 0)
        right = (loss(x * np.exp(-step), y) - loss(x * np.exp(step), y)) / (2 * step) * np.log(1e4)
        up = (loss(x, y * np.exp(-step)) - loss(x, y * np.exp(step))) / (2 * step) * np.log(1e4)
    kept = got["refused"] == ""
    assert kept.sum() >= 10
    np.testing.assert_allclose(got["right"][kept], right[kept], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(got["up"][kept], up[kept], rtol=1e-3, atol=1e-6)


def test_arrows_are_judged_by_the_map():
    loss = np.full((5, 5), 1.0)
    loss[:, 3:], loss[:, :2], loss[3, 3] = 0.5, 2.0, np.nan
    place = np.full(6, 2)
    right, up = np.array([1.0, -1.0, 1.0, np.nan, 0.01, 1.0]), np.array([0.0, 0.0, 1e-3, 1.0, 1.0, 0.0])
    steep = np.array([1.0, 1.0, 1.0, np.nan, 1.0, 11.0])
    assert judged(loss, place, place, right, up, steep, 1).tolist() == [
        "", "not downhill on the map", "", "not finite", "not downhill on the map", "steeper than 10",
    ]  # fmt: skip
    over = judged(loss, np.array([3]), np.array([3]), np.ones(1), np.ones(1), np.ones(1), 1)
    assert over.tolist() == ["diverged"]
    beside = judged(loss, np.array([3]), np.array([2]), np.ones(1), np.zeros(1), np.ones(1), 1)
    assert beside.tolist() == ["not downhill on the map"]  # it leads into what diverged


def test_no_arrow_leads_uphill(mapped):
    kept = mapped.arrow_refused.values == ""
    assert kept.sum() >= 10
    assert "steeper than 10" in mapped.arrow_refused.values or "diverged" in mapped.arrow_refused.values
    x = np.searchsorted(mapped.learning_rate.values, mapped.arrow_x.values[kept])
    y = np.searchsorted(mapped.l2.values, mapped.arrow_y.values[kept])
    right, up, loss = mapped.arrow_right.values[kept], mapped.arrow_up.values[kept], mapped.loss.values
    mostly = np.abs(right) > 10 * np.abs(up)
    ahead = loss[y, x + 2 * np.sign(right).astype(int)]
    assert mostly.any()
    assert (ahead[mostly] < loss[y, x][mostly]).all()


# -- zooming --------------------------------------------------------------------------------------------------


def test_a_window_keeps_its_middle_and_stays_inside(mapped):
    ends = maps.window(mapped, 4.0, (1.0, 1e-2))
    np.testing.assert_allclose(np.sqrt(np.prod(ends["learning_rate"])), 1.0, rtol=1e-6)
    np.testing.assert_allclose(ends["l2"][1] / ends["l2"][0], 10.0, rtol=1e-6)
    corner = maps.window(mapped, 4.0, (100.0, 1e-4))
    assert corner["learning_rate"][1] == pytest.approx(100.0)
    assert corner["l2"][0] == pytest.approx(1e-4)


def test_three_zooms_at_the_edge_have_both_sides(mapped, tmp_path):
    found, space, cells = mapped, SPACE, []
    for level in range(3):
        space = zoomed(found, space, 16.0, at="edge")
        found = landscape(
            EXPERIMENT, space, tmp_path / str(level), points=417, arrows=False, precision="float64", **SMALL
        )
        over = maps.filled(found)[1] >= 0.5
        corners = np.stack([over[:-1, :-1], over[:-1, 1:], over[1:, :-1], over[1:, 1:]])
        cells.append(int((corners.any(0) & ~corners.all(0)).sum()))
        assert 0.02 < over.mean() < 0.98
    assert min(cells) >= 32, cells  # an edge from side to side, and none is lost on the way
    assert space.numbers["learning_rate"].high / space.numbers["learning_rate"].low < 1.003


def test_float64_tells_neighbours_apart_that_are_one_float32_number(tmp_path):
    narrow = Space(learning_rate=log_uniform(0.1, 0.1 * (1 + 1e-9)), l2=log_uniform(1e-4, 1.0), widths=(4,))
    settings = {"resolution": 4, "width": 32, "arrows": False, "points": 25}
    with pytest.raises(ValueError, match="float32 numbers"):
        landscape(EXPERIMENT, narrow, tmp_path / "map", **settings)
    found = landscape(EXPERIMENT, narrow, tmp_path / "map", precision="float64", **settings)
    steps = np.diff(found.loss.values, axis=1)
    assert (steps != 0).all()
    np.testing.assert_allclose(steps / steps.mean(1, keepdims=True), 1.0, rtol=1e-3)  # a line, at this scale


def test_the_edge_cannot_be_found_between_the_cells(mapped):
    with pytest.raises(ValueError, match="factor of 64; expected at most 32"):
        maps.window(mapped, 64.0, "edge")


def test_neighbours_that_are_one_number_are_refused(tmp_path):
    narrow = Space(learning_rate=log_uniform(0.1, 0.1 * (1 + 1e-6)), l2=log_uniform(1e-4, 1.0), widths=(4,))
    with pytest.raises(ValueError, match=r"different float32 numbers; .*--float64"):
        landscape(EXPERIMENT, narrow, tmp_path / "map", **SMALL)
    narrower = Space(learning_rate=log_uniform(0.1, 0.1 * (1 + 1e-15)), l2=log_uniform(1e-4, 1.0), widths=(4,))
    with pytest.raises(ValueError, match="wider window, or a lower resolution"):
        landscape(EXPERIMENT, narrower, tmp_path / "map", precision="float64", **SMALL)
    assert not (tmp_path / "map").exists()


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_float64_is_not_float32(optimizer):
    """The same start and batches in both, so that they agree to what float32 can hold, and no further."""
    experiment = Experiment(data=DATA, model="linear", optimizer=optimizer, batch_size=10, epochs=1, penalty="l2")
    space = Space(learning_rate=log_uniform(1e-3, 1e-1), l2=log_uniform(1e-4, 1.0))
    hparams = {"learning_rate": np.array([1e-2]), "l2": np.array([1e-3])}
    losses = {}
    for precision in ("float32", "float64"):
        with jax.enable_x64(precision == "float64"):
            _, found, _ = ready(experiment, space, precision, width=2)
            losses[precision] = found.train(np.zeros(1, int), hparams)["valid_loss"]
    assert losses["float64"].dtype == np.float64
    np.testing.assert_allclose(losses["float32"], losses["float64"], rtol=1e-4)
    assert np.float32(losses["float64"][0]) != losses["float64"][0]


# -- mistakes -------------------------------------------------------------------------------------------------

RATE, L2 = log_uniform(1e-2, 1.0), log_uniform(1e-4, 1.0)
MISTAKES = {
    "one number": (Space(learning_rate=RATE, l2=0.1), {}, "1 numbers with a range"),
    "three": (Space({"a": RATE, "b": RATE}, learning_rate=RATE), {}, "3 numbers with a range"),
    "steps": (Space(learning_rate=RATE, l2=integer(1, 4)), {}, "l2 as integer"),
    "a choice": (Space(learning_rate=RATE, l2=L2, activation=choice(["elu", "relu"])), {}, "a choice of 2"),
    "an unknown name": (Space(learning_rate=RATE, l3=L2), {}, "l3"),
    "out of range": (Space(learning_rate=RATE, l2=uniform(-1.0, 1.0)), {}, "strength=-1"),
    "no power of 2": (SPACE, {"resolution": 48}, "power of 2"),
    "too few points": (SPACE, {"resolution": 32, "points": 100}, "at least 289"),
    "no seeds": (SPACE, {"replicates": 0}, "replicates=0"),
    "half": (SPACE, {"precision": "float16"}, "'float32' or 'float64'"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_said_before_anything_runs(tmp_path, name):
    space, settings, words = MISTAKES[name]
    with pytest.raises(ValueError, match=words) as caught:
        landscape(EXPERIMENT, space, tmp_path / "map", **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "map").exists()


@pytest.mark.parametrize(("field", "value"), [("stopping", "early_stopping"), ("vary_batches", True)])
def test_what_a_map_cannot_have(tmp_path, field, value):
    with pytest.raises(ValueError, match=field):
        landscape(dataclasses.replace(EXPERIMENT, **{field: value}), SPACE, tmp_path / "map")


def test_a_folder_without_a_map_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no map; expected a directory with map\.json"):
        results.open_map(tmp_path)


# -- what a reviewer broke ----------------------------------------------------------------------------------------

TINY = {"resolution": 2, "width": 9, "arrows": False}


def test_a_chosen_batch_size_is_the_one_that_trains(tmp_path):
    """With a microbatch it is a number of the program, though a choice of the space."""
    experiment = dataclasses.replace(EXPERIMENT, microbatch=5, batch_size=5)
    space = {"learning_rate": log_uniform(1e-2, 0.1), "l2": log_uniform(1e-4, 1e-3), "widths": (4,)}
    losses = [
        landscape(experiment, Space(**space, batch_size=choice([size])), tmp_path / str(size), **TINY).loss.values
        for size in (5, 20)
    ]
    assert (losses[0] != losses[1]).all()


@pytest.mark.parametrize("seed", range(3))
def test_what_hardly_trains_has_not_diverged(tmp_path, seed):
    slow = Space(learning_rate=log_uniform(1e-7, 1e-6), l2=log_uniform(1e-4, 1e-3), widths=(4,))
    found = landscape(dataclasses.replace(EXPERIMENT, seed=seed), slow, tmp_path, **TINY)
    assert (found.diverged == 0).all()
    one_step = dataclasses.replace(EXPERIMENT, seed=seed, steps=1)
    assert (landscape(one_step, slow, tmp_path / "one", **TINY).diverged == 0).all()


def test_what_was_only_begun_is_that_map_and_no_other(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mapping, "ready", interrupted)
        with pytest.raises(KeyboardInterrupt):
            landscape(EXPERIMENT, SPACE, tmp_path / "map", **TINY)
    with pytest.raises(ValueError, match=r"was asked with optimizer='sgd'; got 'adam'"):
        landscape(dataclasses.replace(EXPERIMENT, optimizer="adam"), SPACE, tmp_path / "map", **TINY)
    assert landscape(EXPERIMENT, SPACE, tmp_path / "map", **TINY).attrs["trainings"] == 9


@jax.custom_vjp
def _backward_only(outputs, targets):
    return -jax.numpy.take_along_axis(jax.nn.log_softmax(outputs), targets[:, None], 1)[:, 0]


_backward_only.defvjp(
    lambda outputs, targets: (_backward_only(outputs, targets), (outputs, targets)),
    lambda kept, slope: (slope[:, None] * (jax.nn.softmax(kept[0]) - jax.nn.one_hot(kept[1], kept[0].shape[1])), None),
)


def test_what_has_no_arrows_is_told_before_any_point_and_can_be_mapped_without(tmp_path):
    experiment = dataclasses.replace(EXPERIMENT, loss=_backward_only, objective="accuracy")
    with pytest.raises(ValueError, match=r"arrows=False \(--no-arrows\)"):
        landscape(experiment, SPACE, tmp_path / "map", **{**TINY, "arrows": True})
    assert not len(maps.read_lanes(tmp_path / "map").row)
    assert landscape(experiment, SPACE, tmp_path / "map", **TINY).attrs["trainings"] == 9


def test_a_point_without_an_objective_is_computed_once():
    values, diverged = np.full((9, 9), np.nan), np.zeros((9, 9), bool)
    values[::4, ::4] = np.arange(9).reshape(3, 3)
    values[4, 4] = np.nan
    points = refining.steepest(values, diverged, 99, tolerance=0.02, known=~np.isnan(values) | _at(4, 4))
    assert [4, 4] not in points.tolist()


def _at(row, column):
    there = np.zeros((9, 9), bool)
    there[row, column] = True
    return there
