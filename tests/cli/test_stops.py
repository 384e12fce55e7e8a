"""SIGTERM is heeded within a second of work wherever it comes, in real processes, and what was trained is saved."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.cli.test_run import start, wait_for
from tests.conftest import ROOT
from tests.run.points_run import quiet
from toolkit.errors import Interrupted
from toolkit.training.storage.checkpoint import CheckpointStore
from toolkit.training.storage.signals import Signals, StopAsked

SPINNING = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from toolkit.evaluation.evaluator import Evaluator
from toolkit.modality import Modality
import tests.points

calls = {{}}


def spin(place):
    calls[place] = calls.get(place, 0) + 1
    if os.environ["SPIN"] == f"{{place}} {{calls[place]}}":
        print("spinning", flush=True)
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                sum(range(1000))
            except Exception:
                pass


class Judge(Evaluator):
    def metrics(self, samples, data, options, notify):
        spin("judge")


class Spinning(tests.points.Points):
    name = "spinning"

    def load(self, cache, notify):
        spin("data")
        return super().load(cache, notify)

    def preview(self, raw, labels=()):
        spin("picture")
        return super().preview(raw, labels)

    def evaluator(self):
        return Judge()
"""
TRAIN = ["train", "--modality", "spinning.py", "--steps", "60", "--batch", "16", "--out", "run"]
TRAIN += [
    "--set",
    "train.previews=2",
    "--set",
    "sample.steps=2",
    "--set",
    "train.threads=1",
    "--set",
    "sample.guidance=1",
]
ENDS = 1.0
"""Seconds of work from the signal to the line that says how to go on: of the processor, which others use too."""


def worked(pid: int) -> float:
    """Return the seconds of processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("place", "command", "code", "step", "said"),
    [
        ("data 1", TRAIN, -15, None, ""),
        ("picture 1", TRAIN, 143, 21, "stopped after step 21 of 60; everything is saved"),
        ("picture 2", TRAIN, 143, 60, "final.png, noise-to-sample.gif). The same command again draws them"),
        ("picture 5", TRAIN, 143, 60, "(noise-to-sample.gif). The same command again draws them"),
        ("judge 1", ["evaluate", "run", "--modality", "spinning.py", "-n", "4"], -15, 60, ""),
    ],
)
def test_a_stop_is_heeded_at_once_and_what_was_trained_is_saved(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    command: list[str],
    code: int,
    step: int | None,
    said: str,
) -> None:
    (tmp_path / "spinning.py").write_text(SPINNING)
    if place.startswith("judge"):
        monkeypatch.setenv("SPIN", "nowhere")
        trained = start(tmp_path, *TRAIN)
        _, err = trained.communicate(timeout=300)
        assert trained.returncode == 0, err
    monkeypatch.setenv("SPIN", place)
    running = start(tmp_path, *command)
    wait_for(running, "spinning")
    before = worked(running.pid)
    running.send_signal(signal.SIGTERM)
    assert running.stdout is not None and running.stderr is not None
    err = running.stderr.readline()  # nothing, where the signal ended it
    took = worked(running.pid) - before
    running.stdout.read()
    err += running.stderr.read()
    assert running.wait(timeout=60) == code, err
    print(f"{place}: {took:.2f} s")
    assert took < ENDS
    assert err.strip().endswith(said) or said in err
    assert len(err.splitlines()) == bool(said)
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    found = store.load(notify=quiet)
    assert (None if found is None else found.step) == step
    assert (tmp_path / "run").exists() == (step is not None)


def test_a_wish_to_stop_is_raised_where_it_comes_and_only_there() -> None:
    with Signals() as signals:
        with pytest.raises(StopAsked), signals.at_once():
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("it was not raised")
        assert signals.stop == signal.SIGTERM
        with pytest.raises(StopAsked), signals.at_once():  # a wish that came before is heeded on the way in
            raise AssertionError("it was not raised")
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)  # between pictures it is a wish, and nothing is raised
        assert signals.stop == signal.SIGTERM


def test_code_that_makes_do_with_any_error_does_not_take_a_stop_for_one() -> None:
    assert not issubclass(StopAsked, Exception) and issubclass(Interrupted, Exception)
    with Signals() as signals, pytest.raises(StopAsked), signals.at_once():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except Exception:
            raise AssertionError("it was taken for an error") from None
