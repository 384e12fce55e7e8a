"""`toolkit verify bound --model FILE.py` as a user runs it: an honest denoiser, one that leaks, and mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_commands import one_error
from tests.conftest import Command

HONEST = """
from toolkit.verify.sources import Posterior

def denoiser(source):
    return Posterior(source)
"""
LEAKS = """
from toolkit.verify.sources import Posterior

class Keeps(Posterior):
    '''Says for ever what it said at the least noise.'''

    said = None

    def forward(self, x_t, t, cond=None):
        if self.said is None:
            self.said = super().forward(x_t, t, cond)
        return self.said

def denoiser(source):
    return Keeps(source)
"""


def test_an_honest_bound_holds_and_a_leak_is_found(tmp_path: Path, toolkit_command: Command) -> None:
    (tmp_path / "honest.py").write_text(HONEST)
    (tmp_path / "leaks.py").write_text(LEAKS)
    done = toolkit_command("verify", "bound", "--model", "honest.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("a bound") == 3 and "BROKEN" not in done.stdout
    done = toolkit_command("verify", "bound", "--model", "./leaks.py")
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.count("BROKEN") == 3 and "no bound for" in done.stdout


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "no such module file: mine.py"),
        ("x = 1", "must define a function denoiser(source)"),
        ("def denoiser(source): return 3", "must return a toolkit.diffusion.Denoiser, not int"),
        ("def denoiser(source): raise ValueError('not\\nready')", "mine.py fails (ValueError: not"),
        ("import nothing_like_it", "ModuleNotFoundError"),
        ("def (", "SyntaxError"),
    ],
)
def test_a_mistake_is_one_line(body: str | None, message: str, tmp_path: Path, toolkit_command: Command) -> None:
    if body is not None:
        (tmp_path / "mine.py").write_text(body)
    assert message in one_error(toolkit_command("verify", "bound", "--model", "mine.py"), 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bound"], "--model"),
        (["bound", "--model", "nothing.like.it"], "no module 'nothing.like.it'"),
        (["--only", "D5", "bound", "--model", "x.py"], "--only chooses among the core's own checks"),
        (["--only", "nosuch"], "no check is called 'nosuch'"),
        (["bonud"], "bonud"),
    ],
)
def test_wrong_words(arguments: list[str], message: str, toolkit_command: Command) -> None:
    assert message in one_error(toolkit_command("verify", *arguments), 2)
