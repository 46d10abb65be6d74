"""How far a run is, record by record: also over resumes, failures and runs that count steps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from jaxopt_intro import journal
from jaxopt_intro.results.progress import Progress, advance, as_mapping, lines
from tests.journals import diverges, grid_trials, write

RUN = {"type": "run", "objective": {"name": "valid_loss", "direction": "min"}, "experiment": {"epochs": 4}}


def asked(name, seeds=(0,)):
    return {"type": "trial", "trial": name, "hparams": {"learning_rate": 0.125}, "choices": {"optimizer": "sgd"},
            "seeds": list(seeds)}  # fmt: skip


def epoch(number, values, time=1.0):
    members = [[name, 0] for name in values]
    metrics = {"valid_loss": list(values.values())}
    return {"type": "epoch", "epoch": number, "members": members, "metrics": metrics, "time": time}


def end(name, status="finished", seed=0):
    return {"type": "end", "trial": name, "seed": seed, "status": status}


def test_folding_in_pieces_is_folding_at_once(tmp_path):
    records = journal.read(write(tmp_path, grid_trials(seeds=(0, 1)), fails=diverges))
    whole, piecewise = advance(Progress(), records), Progress()
    for record in records:
        before = piecewise
        piecewise = advance(before, [record])
        assert before == before._replace(), "what was handed in is not changed"
    assert piecewise == whole
    assert whole.finished
    assert whole.share == 1.0
    assert as_mapping(whole)["ended"] == {"finished": 112, "failed": 16}


def test_what_was_handed_in_stays_as_it_was():
    first = advance(Progress(), [RUN, asked("a")])
    advance(first, [epoch(1, {"a": 0.5}), end("a")])
    assert (dict(first.done), dict(first.best), dict(first.ended)) == ({("a", 0): 0}, {}, {})


def test_the_share_and_what_remains():
    now = advance(Progress(), [RUN, asked("a"), asked("b"), epoch(1, {"a": 0.5, "b": 0.25}, 10.0)])
    assert (now.share, now.remaining, now.leader) == (0.25, 30.0, ("b", 0.25))
    now = advance(now, [end("a", "failed")])
    assert now.share == 0.625, "what ended early is done"
    now = advance(now, [end("b")])
    assert (now.share, now.finished) == (1.0, False), "until the receipt it may test"
    assert advance(now, [{"type": "receipt", "seconds": 12.0}]).finished


def test_a_listener_is_told_of_arrays():
    """A sweep's own records hold arrays, where those that were read hold lists."""
    told = epoch(1, {"a": 0.5, "b": 0.25})
    told["metrics"] = {name: np.array(values, np.float32) for name, values in told["metrics"].items()}
    assert advance(Progress(), [RUN, asked("a"), asked("b"), told]).leader == ("b", 0.25)


def test_a_failed_member_does_not_lead_and_no_nan_does():
    now = advance(Progress(), [RUN, asked("a"), asked("b"), epoch(1, {"a": 0.5, "b": 0.25})])
    now = advance(now, [epoch(2, {"a": float("nan"), "b": float("inf")}), end("b", "failed")])
    assert now.leader == ("a", 0.5)


def test_a_resumed_run_counts_the_time_and_pace_of_its_sessions():
    now = advance(Progress(), [RUN, asked("a"), epoch(1, {"a": 0.5}, 100.0), {"type": "receipt", "seconds": 100.0}])
    now = advance(now, [RUN, epoch(1, {"a": 0.5}, 1.0), epoch(2, {"a": 0.5}, 2.0)])
    assert (now.seconds, now.receipt, now.done["a", 0]) == (102.0, False, 2)
    assert now.remaining == pytest.approx(4.0), "at the pace of this session: an epoch in two seconds"


def test_the_lines_say_what_failed_and_how_long():
    now = advance(Progress(), [RUN, asked("a", (0, 1)), epoch(2, {"a": 0.5}, 75.0), end("a", "failed", 1)])
    assert lines(now) == [
        "1 of 2 members ended (1 failed), 2 of 8 epochs",
        "best valid_loss of a member 0.5000: sgd, learning_rate 0.125",
        "1 min 15 s so far, about 25 s to go",
    ]


def test_validations_that_count_steps_are_no_epochs():
    now = advance(
        Progress(), [{**RUN, "experiment": {"epochs": 40, "validate_every": 64}}, asked("a"), epoch(10, {"a": 0.5})]
    )
    assert "epochs" not in lines(now)[0]


def test_steps_have_no_epochs_to_count_and_nothing_is_nothing():
    now = advance(Progress(), [{**RUN, "experiment": {"epochs": 5, "steps": 70}}, asked("a"), epoch(1, {"a": 0.5})])
    assert (now.epochs, now.share, now.remaining) == (None, 0.0, None)
    assert json.loads(json.dumps(as_mapping(now)))["epochs_asked"] is None
    assert lines(Progress()) == ["0 of 0 members ended", "0 s so far"]
    assert not Progress().finished


def test_a_finished_run_that_is_asked_again_is_still_finished():
    run = {"type": "run", "objective": {"name": "accuracy", "direction": "max"}, "experiment": {"epochs": 1}}
    trial = {"type": "trial", "trial": "a", "hparams": {}, "seeds": [0]}
    end, receipt = {"type": "end", "trial": "a", "seed": 0, "status": "finished"}, {"type": "receipt", "seconds": 2.0}
    finished = advance(Progress(), [run, trial, end, receipt])
    assert advance(finished, [run]).finished
    more = {**trial, "trial": "b"}
    assert not advance(finished, [run, more]).finished
