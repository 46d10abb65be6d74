"""Pruners as pure functions: who goes on, by the papers' rules, whatever the values are."""

from __future__ import annotations

import collections
import inspect
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxopt_intro.distributions import integer, log_uniform, points, quantized
from jaxopt_intro.sweeps.pruning import PRUNERS, Entrant, News, pruner_of

NAMES = [f"{i:012x}" for i in range(60)]
VALUES = st.lists(st.one_of(st.floats(0, 1, width=32), st.just(math.nan)), min_size=1, max_size=60)


def epochs(length):
    return [float(epoch) for epoch in range(1, length + 1)]


def compete(pruner, values, validations, at_once=7):
    """Lets trials compete whose value never changes; returns where each stopped, and all verdicts."""
    known, reached, targets, stopped, said = dict(zip(NAMES, values, strict=False)), {}, {}, {}, []
    length = validations[-1]
    state, verdicts = pruner.update(pruner.init(validations), News([Entrant(n, hparams={"l2": 0.5}) for n in known]))

    def carry_out(verdicts):
        said.extend(verdicts)
        useful = [v for v in verdicts if v.trial not in stopped and reached.get(v.trial) != length]
        for verdict in useful:
            if verdict.action == "stop":
                stopped[verdict.trial] = reached[verdict.trial]
            else:
                assert verdict.to in validations
                assert verdict.to > reached.get(verdict.trial, 0)  # nobody is judged twice at a validation
                targets[verdict.trial] = verdict.to
        return useful

    carry_out(verdicts)
    for _ in range(10_000):
        going = [t for t in targets if t not in stopped and reached.get(t, 0) < targets[t]]
        if going:
            now = min(targets[t] for t in going)
            tile = [t for t in going if targets[t] == now][:at_once]
            reached |= dict.fromkeys(tile, now)
            state, verdicts = pruner.update(state, News(at=now, values={t: known[t] for t in tile}))
            carry_out(verdicts)
        else:
            state, verdicts = pruner.update(state, News(idle=True))
            if not carry_out(verdicts):
                assert pruner.update(state, News(idle=True)) == (state, [])  # else a sweep would journal it each time
                return reached, stopped, said
    raise AssertionError("it never ends")


@pytest.mark.parametrize("name", PRUNERS)
@given(values=VALUES)
def test_everybody_is_through_or_stopped_and_the_best_is_through(name, values):
    reached, stopped, said = compete(PRUNERS[name](), values, epochs(9))
    assert len(reached) == len(values)
    assert all(reached[t] == 9.0 or t in stopped for t in reached)
    finite = {t: v for t, v in zip(NAMES, values, strict=False) if math.isfinite(v)}
    if finite and name != "pbt":
        assert max(finite.values()) in {finite[t] for t in reached if reached[t] == 9.0 and t in finite}
    assert all(v.reason for v in said if v.action == "stop")


@given(values=VALUES)
def test_halving_lets_the_best_third_go_on_from_rung_to_rung(values):
    reached, _, _ = compete(PRUNERS["successive_halving"](), values, epochs(9))
    finite = sorted((-v, i) for i, v in enumerate(values) if math.isfinite(v))
    order = [NAMES[i] for _, i in finite]
    first = order[: max(1, len(values) // 3)]
    second = first[: max(1, len(first) // 3)]
    assert {t for t in reached if reached[t] >= 3} == set(first)
    assert {t for t in reached if reached[t] >= 9} == set(second)


@pytest.mark.parametrize("name", PRUNERS)
@pytest.mark.parametrize("numbers", [{}, {"eta": 1.25}, {"interval": 0.5}, {"interval": 45}])
def test_rungs_that_are_closer_than_validations_are_one(name, numbers):
    """Validated after 40, 80, … 360 steps: rungs at 1, 3, 9 and 27 steps are all at the first of them."""
    takes = inspect.signature(PRUNERS[name]).parameters
    if not numbers.keys() <= takes.keys():
        pytest.skip("it has no such number")
    pruner = PRUNERS[name](unit="steps", **numbers)
    values, steps = [i / 54 for i in range(54)], [40.0 * (i + 1) for i in range(9)]
    reached, _, _ = compete(pruner, values, steps)
    assert 360.0 in reached.values()
    if name == "successive_halving" and not numbers:
        at = list(reached.values())
        assert [at.count(40.0), at.count(120.0), at.count(360.0)] == [36, 12, 6]
    if name == "hyperband" and not numbers:  # as if rungs were at 1, 3 and 9 epochs
        in_epochs, _, _ = compete(PRUNERS[name](), values, epochs(9))
        assert reached == {trial: 40 * epoch for trial, epoch in in_epochs.items()}
    if name in ("successive_halving", "hyperband"):
        expected = sum(count * much for count, much in pruner.stages(54, steps))
        assert expected == pytest.approx(sum(reached.values()), rel=0.2)


@pytest.mark.parametrize("name", ["successive_halving", "hyperband"])
def test_a_batch_begins_at_the_first_rung_though_the_best_of_the_one_before_had_ended(name):
    """Early stopping ends the best at the first rung: it is sent on, and never comes to the next one."""
    pruner = PRUNERS[name]()
    batches = [[Entrant(f"{batch}{i}") for i in range(27)] for batch in "abc"]
    state, first = pruner.update(pruner.init(epochs(9)), News(batches[0]))
    for batch in batches[1:]:
        for at in (1.0, 3.0):
            there = [v.trial for v in first if v.to == at]
            values = {trial: int(trial[1:]) / 27 for trial in there}
            best = sorted(there, key=lambda t: values[t])[-(len(there) // 3) :]
            state, verdicts = pruner.update(state, News(at=at, values=values, ended=best))
            assert {v.trial for v in verdicts if v.action == "go"} == set(best)
        state, verdicts = pruner.update(state, News(idle=True))
        assert not verdicts
        state, entered = pruner.update(state, News(batch))
        assert {v.to for v in entered} == {v.to for v in first}
        first = entered


def test_hyperband_has_the_papers_brackets():
    """Li et al. 2018, table 1, with R = 81 and eta = 3: 81, 34, 15, 8 and 5 trials begin at 1, 3, 9, 27 and 81."""
    entrants = [Entrant(f"{i}") for i in range(81 + 34 + 15 + 8 + 5)]
    pruner = PRUNERS["hyperband"]()
    _, verdicts = pruner.update(pruner.init(epochs(81)), News(entrants))
    starts = [verdict.to for verdict in verdicts]
    assert {to: starts.count(to) for to in (1, 3, 9, 27, 81)} == {1: 81, 3: 34, 9: 15, 27: 8, 81: 5}
    assert len(set(starts[:20])) > 1  # neighbours of a grid are not dealt alike


def test_the_stages_of_a_pruner_are_what_its_trials_do():
    for name in ("successive_halving", "hyperband"):
        pruner = PRUNERS[name]()
        reached, _, _ = compete(pruner, [i / 54 for i in range(54)], epochs(27))
        stages = pruner.stages(54, epochs(27))
        assert sum(count * much for count, much in stages) == pytest.approx(sum(reached.values()), rel=0.2), name


@pytest.mark.parametrize(
    ("name", "numbers", "validations"),
    [
        ("successive_halving", {"first": 10}, epochs(5)),
        ("successive_halving", {"unit": "steps"}, [40.0]),
        ("hyperband", {"first": 10}, epochs(5)),
        ("hyperband", {}, epochs(2)),  # the last rung but one would be at 2/3
        ("asha", {"first": 10}, epochs(5)),
        ("median", {"warmup": 5}, epochs(5)),
        ("median", {"interval": 7}, epochs(5)),
        ("pbt", {"interval": 5}, epochs(5)),
    ],
)
def test_a_pruner_that_would_judge_nobody_before_the_end_says_so(name, numbers, validations):
    with pytest.raises(ValueError, match=rf"pruner {name}: got .* and validations after .*it would prune nobody"):
        PRUNERS[name](**numbers).init(validations)


@pytest.mark.parametrize("name", ["successive_halving", "asha", "median", "pbt"])
def test_two_epochs_are_enough_to_prune(name):
    reached, _, said = compete(PRUNERS[name](), [i / 9 for i in range(9)][::-1], epochs(2))
    assert {1.0, 2.0} == set(reached.values()) or any(v.action == "copy" for v in said)


def test_asha_promotes_as_soon_as_a_third_is_beaten():
    pruner = PRUNERS["asha"]()
    state, _ = pruner.update(pruner.init(epochs(9)), News([Entrant(t) for t in "abcdef"]))
    state, verdicts = pruner.update(state, News(at=1, values={"a": 0.1, "b": 0.2}))
    assert not verdicts
    state, verdicts = pruner.update(state, News(at=1, values={"c": 0.3}))
    assert [(v.trial, v.action, v.to) for v in verdicts] == [("c", "go", 3.0)]
    state, verdicts = pruner.update(state, News(at=1, values={"d": 0.0, "e": math.nan, "f": 0.0}))
    assert [(v.trial, v.action, v.to) for v in verdicts] == [("b", "go", 3.0)]
    _, verdicts = pruner.update(state, News(idle=True))
    assert {v.trial for v in verdicts if v.action == "stop"} == {"a", "d", "e", "f"}


def test_asha_lets_somebody_finish_though_a_third_of_two_is_nobody():
    """Seven trials: two go on to 3 epochs, of whom a third is nobody; nobody else comes, so the better one goes on."""
    reached, stopped, _ = compete(PRUNERS["asha"](), [0.7, 0.1, 0.6, 0.2, 0.5, 0.3, 0.4], epochs(9))
    at = list(reached.values())
    assert [at.count(1.0), at.count(3.0), at.count(9.0)] == [5, 1, 1]
    assert reached[NAMES[0]] == 9.0
    assert len(stopped) == 6


def test_whom_asha_has_stopped_takes_no_place_of_a_later_batch():
    pruner = PRUNERS["asha"]()
    state, _ = pruner.update(pruner.init(epochs(3)), News([Entrant(t) for t in "abcdefg"]))
    values = dict(zip("abcdefg", (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3), strict=True))
    state, verdicts = pruner.update(state, News(at=1, values=values))
    assert [v.trial for v in verdicts] == ["a", "b"]
    state, _ = pruner.update(state, News(at=3, values={"a": 0.9, "b": 0.8}, ended=["a", "b"]))
    state, verdicts = pruner.update(state, News(idle=True))
    assert {v.trial for v in verdicts if v.action == "stop"} == set("cdefg")
    assert pruner.update(state, News(idle=True)) == (state, [])
    state, _ = pruner.update(state, News([Entrant(t) for t in "hijkl"]))
    values = dict(zip("hijkl", (0.2, 0.65, 0.1, 0.55, 0.2), strict=True))  # a third of all twelve are four
    state, verdicts = pruner.update(state, News(at=1, values=values))
    assert [v.trial for v in verdicts] == ["i", "k"]
    state, verdicts = pruner.update(state, News(idle=True))
    assert {v.trial: v.action for v in verdicts} == dict.fromkeys("hjl", "stop")


def test_the_median_rule_compares_the_best_with_the_others_averages():
    pruner = PRUNERS["median"](least=2, warmup=2)
    state, _ = pruner.update(pruner.init(epochs(9)), News([Entrant(t) for t in "abc"]))
    state, verdicts = pruner.update(state, News(at=1, values={"a": 0.9, "b": 0.5, "c": 0.5}))
    assert {v.action for v in verdicts} == {"go"}  # warming up
    _, verdicts = pruner.update(state, News(at=2, values={"a": 0.0, "b": 0.5, "c": 0.3}))
    # The averages are 0.45, 0.5 and 0.4; the bests 0.9, 0.5 and 0.5: the medians of the others 0.45, 0.425 and 0.475.
    assert {v.trial: v.action for v in verdicts} == {"a": "go", "b": "go", "c": "go"}
    _, verdicts = pruner.update(state, News(at=2, values={"a": 0.9, "b": 0.9, "c": 0.3}))
    assert {v.trial: v.action for v in verdicts} == {"a": "go", "b": "go", "c": "stop"}


def test_population_based_training_copies_the_best_within_a_group():
    pruner = PRUNERS["pbt"](share=0.25, factor=2.0)
    entrants = [Entrant(t, group, {"rate": r, "k": 4}) for t, group, r in zip("abcdefgh", "1" * 4 + "2" * 4, (
        0.1, 0.2, 0.3, 0.4, 1.0, 2.0, 3.0, 4.0), strict=True)]  # fmt: skip
    state, _ = pruner.update(pruner.init(epochs(3)), News(entrants))
    values = dict(zip("abcdefgh", (0.1, 0.2, 0.3, 0.4, 0.9, 0.8, math.nan, 0.7), strict=True))
    state, verdicts = pruner.update(state, News(at=1, values=values))
    assert not verdicts
    _, verdicts = pruner.update(state, News(idle=True))
    copies = {v.trial: v for v in verdicts if v.action == "copy"}
    assert {t: v.source for t, v in copies.items()} == {"a": "d", "g": "e"}
    assert copies["a"].hparams["rate"] in (0.2, 0.4)  # half, or twice: but at most what the population began with
    assert copies["g"].hparams["rate"] in (0.5, 2.0) or copies["g"].hparams["rate"] == pytest.approx(0.5)
    assert copies["a"].hparams["k"] == 4
    assert {v.to for v in verdicts} == {2.0}


@pytest.mark.parametrize("factor", [1.05, 1.2, 3.0])
def test_copies_stay_in_the_space(factor):
    """A size of a choice, which has no distribution, is left alone; numbers with steps move by whole steps."""
    space = {"rate": log_uniform(0.1, 1.0), "k": integer(1, 9), "part": quantized(0.1, 0.9, 0.2)}
    drawn = {name: points(distribution, 5) for name, distribution in space.items()}
    rows = [{**{n: own[i] for n, own in drawn.items()}, "batch_size": 32 * 2 ** (i % 3)} for i in range(5)]
    pruner, moved = PRUNERS["pbt"](share=0.5, factor=factor), collections.defaultdict(set)
    state, _ = pruner.update(pruner.init(epochs(40)), News([Entrant(str(i), "", rows[i], space) for i in range(5)]))
    for at in range(1, 40):
        order = np.random.default_rng(at).permutation(5).tolist()
        state, _ = pruner.update(state, News(at=at, values={str(i): order[i] / 5 for i in range(5)}))
        state, verdicts = pruner.update(state, News(idle=True))
        for copy in (v for v in verdicts if v.action == "copy"):
            for name, value in copy.hparams.items():
                moved[name].add(value)
    assert moved["batch_size"] <= {32, 64, 128}
    assert moved["k"] <= set(range(1, 10))
    assert {type(k) for k in moved["k"]} == {int}
    assert moved["part"] <= {0.1, 0.3, 0.5, 0.7, 0.9}
    assert min(len(moved["k"]), len(moved["part"]), len(moved["rate"])) > 1


def test_pruners_come_back_from_plain_values_and_say_what_is_wrong():
    for name, make in PRUNERS.items():
        assert pruner_of(make().asked).asked == make().asked, name
    for asked, message in [
        ({"name": "hyperbend"}, "Did you mean 'hyperband'"),
        ({"name": "asha", "etta": 3}, "Did you mean 'eta'"),
        ({"name": "asha", "eta": "many"}, "expected a number"),
        ({"name": "asha", "eta": 1}, "expected eta above 1"),
        ({"name": "pbt", "share": 0.7}, "at most 0.5"),
        ({"name": "median", "unit": "hours"}, "epochs"),
    ]:
        with pytest.raises(ValueError, match=message):
            pruner_of(asked)
