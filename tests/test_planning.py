"""The plan: never slower than one after another, within memory, and the same segments for ever."""

from __future__ import annotations

import functools
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxopt_intro.sweeps import planning
from jaxopt_intro.sweeps.exhaustion import TooWide


class FakePrograms:
    """Stands for compiled programs: their memory grows with the width."""

    def __init__(self, bytes_per_lane=0, bytes_to_validate=0):
        self.bytes_per_lane, self.bytes_to_validate, self.asked = bytes_per_lane, bytes_to_validate, []

    def segment(self, width, length):
        self.asked.append((width, length))
        need = types.SimpleNamespace(
            argument_size_in_bytes=width * self.bytes_per_lane, temp_size_in_bytes=0, output_size_in_bytes=0
        )
        return types.SimpleNamespace(memory_analysis=lambda: need)

    def validate(self, width):
        need = types.SimpleNamespace(
            argument_size_in_bytes=width * self.bytes_to_validate, temp_size_in_bytes=0, output_size_in_bytes=0
        )
        return types.SimpleNamespace(memory_analysis=lambda: need)


def choose(seconds_per_step, *, members=64, steps=100_000, round_steps=100, programs=None, **asked):
    """A plan where a step of a tile of width W takes `seconds_per_step(W)`."""
    return planning.choose(
        programs or FakePrograms(),
        stages=[(members, steps)],
        round_steps=round_steps,
        probe=lambda width, length: seconds_per_step(width) * length,
        **asked,
    )


def total(width, seconds_per_step, members):
    return -(-members // width) * seconds_per_step(width)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    members=st.integers(1, 300),
    costs=st.lists(st.floats(1e-6, 1.0), min_size=9, max_size=9),
    steps=st.sampled_from([1, 100, 10**6]),
)
def test_no_plan_is_slower_than_one_after_another(members, costs, steps):
    def seconds_per_step(width):
        return costs[int(np.log2(width))]

    plan = choose(seconds_per_step, members=members, steps=steps)
    assert 1 <= plan.width <= members
    assert total(plan.width, seconds_per_step, members) <= total(1, seconds_per_step, members)
    climbed = {*planning.WIDTHS, members}
    assert set(plan.rates) <= climbed | {2 * w for w in climbed} | {w // 2 for w in climbed}


def test_free_lanes_are_all_taken_and_costly_ones_are_not():
    assert choose(lambda width: 1.0, members=20).width == 20
    assert choose(float, members=20).width == 1
    knee = choose(lambda width: max(1.0, width / 8), members=512)
    assert (knee.width, knee.why) == (8, "wider is no faster")


def test_padding_counts_as_work():
    """Nine members in tiles of eight are two tiles: as slow as sixteen."""
    assert choose(lambda width: 0.6 * width if width > 1 else 1.0, members=9).width != 8


def test_a_tiny_sweep_is_not_measured_to_the_end():
    plan = choose(lambda width: 1e-12, members=64, steps=1)
    assert (plan.width, len(plan.rates)) == (1, 1)


def test_a_width_that_is_asked_for_is_taken():
    programs = FakePrograms()
    plan = choose(float, width=7, programs=programs)
    assert (plan.width, plan.why, set(plan.rates)) == (7, "asked for", {7})
    assert {width for width, _ in programs.asked} == {7}


def test_a_width_whose_probe_runs_out_of_memory_does_not_fit():
    def seconds_per_step(width, most=8):
        if width > most:
            raise TooWide("RESOURCE_EXHAUSTED")
        return 1.0

    plan = choose(seconds_per_step)
    assert (plan.width, max(plan.rates), plan.why) == (8, 8, "64 would not fit in memory")
    with pytest.raises(MemoryError, match=r"7 would not fit in memory: got width=7.*Use a smaller width"):
        choose(functools.partial(seconds_per_step, most=6), width=7)
    with pytest.raises(MemoryError, match=r"1 would not fit in memory.*Use a smaller batch_size"):
        choose(functools.partial(seconds_per_step, most=0))


def test_what_does_not_fit_in_memory_is_not_run(monkeypatch):
    monkeypatch.setattr(planning, "memory_limit", lambda: 1000)
    plan = choose(lambda width: 1.0, programs=FakePrograms(bytes_per_lane=50))
    assert plan.width == 8
    assert "64" in plan.why
    assert "memory" in plan.why
    with pytest.raises(MemoryError, match=r"1 would not fit in memory.*Use a smaller batch_size"):
        choose(lambda width: 1.0, programs=FakePrograms(bytes_per_lane=601))


def test_what_cannot_be_validated_is_not_run(monkeypatch):
    monkeypatch.setattr(planning, "memory_limit", lambda: 1000)
    plan = choose(lambda width: 1.0, programs=FakePrograms(bytes_to_validate=50))
    assert plan.width == 8
    with pytest.raises(MemoryError, match=r"1 would not fit in memory when they are validated"):
        choose(lambda width: 1.0, programs=FakePrograms(bytes_to_validate=601))


def test_a_width_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(planning, "memory_limit", lambda: 1000)
    with pytest.raises(MemoryError, match=r"16 would not fit in memory: got width=16 .* Use a smaller width"):
        choose(lambda width: 1.0, programs=FakePrograms(bytes_per_lane=50), width=16)


def test_the_memory_of_this_device_is_known():
    assert planning.memory_limit() is None or planning.memory_limit() > 2**28


@settings(deadline=None, derandomize=True, max_examples=300)
@given(round_steps=st.integers(1, 5000), seconds=st.floats(1e-6, 1e3))
def test_segments_cover_a_round_exactly_and_none_is_longer_than_wanted(round_steps, seconds):
    plan = choose(lambda width: seconds, members=1, round_steps=round_steps)
    pieces = planning.lengths(round_steps, plan.segment)
    assert sum(pieces) == round_steps
    assert len(set(pieces)) <= 2
    assert max(pieces) <= max(1.0, planning.SEGMENT_SECONDS / seconds * (1 + 1e-9))
    wanted = -(-round_steps // max(1, min(round_steps, int(planning.SEGMENT_SECONDS / seconds))))
    assert len(pieces) <= 2 * wanted + 1


SMALL = {1: 1.0, 4: 1.5, 8: 2.0, 16: 4.0, 32: 8.0}  # seconds of a step; wider than 8 is no faster


def test_between_two_widths_of_the_climb_there_may_be_a_better_one():
    def seconds_per_step(width):  # 16 lanes fit in a cache
        return max(1.0, width / 16) * (1 if width <= 16 else 2)

    assert choose(seconds_per_step, members=512).width == 16
    assert choose(seconds_per_step, members=512, steps=1e-9).width < 16  # not worth it: nothing is left to run


def test_a_width_that_was_measured_in_a_bad_moment_is_measured_again():
    calls = []

    def seconds_per_step(width):
        calls.append(width)
        return {**SMALL, 64: 17.0 if calls.count(64) == 1 else 10.0}[width]  # at first 64 seems a little slower

    plan = choose(seconds_per_step)
    assert (plan.width, plan.rates[64]) == (64, 6.4)
    calls.clear()
    assert choose(seconds_per_step, steps=1e-9).width == 1  # not worth it: nothing is left to run


def test_a_wider_tile_must_be_clearly_faster_also_when_measured_again_and_the_reason_is_its_own():
    plan = choose(lambda width: {**SMALL, 64: 15.9}[width])  # 64 is 0.6 % faster than 8
    assert (plan.width, plan.why) == (8, "wider is no faster")
    plan = choose(lambda width: {**SMALL, 64: 10.0}[width])
    assert (plan.width, plan.why) == (64, "all at once")
