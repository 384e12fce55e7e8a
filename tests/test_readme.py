"""The README's own programs run and do what they say."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import torch

from tests.conftest import ROOT, run_python
from toolkit.diffusion import DDIM, GRIDS, RectifiedFlow, sample
from toolkit.evaluation.metrics.all import Features
from toolkit.modality import Modality
from toolkit.verify.oracle import GaussianDenoiser

MAX_LINES = 175


def block(text: str) -> str:
    """Return the Python block of the README that contains `text`."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (found,) = (code for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if text in code)
    return found


def test_the_training_script_learns_the_moons(tmp_path: Path) -> None:
    script = block("class Net")
    assert 25 <= len([line for line in script.splitlines() if line.strip()]) <= 40
    (tmp_path / "script.py").write_text(script)
    done = run_python("script.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    distance = float(done.stdout.split(":")[1])
    assert distance < 0.08  # 0.04 here


def test_what_extends_it_does_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "extend.py").write_text(block("class Mine"))
    names: dict[str, Any] = runpy.run_path(str(tmp_path / "extend.py"))
    oracle = GaussianDenoiser(RectifiedFlow(), mean=0.3, std=0.5)
    times = GRIDS["log-snr"](oracle.schedule, 10)
    x_T = torch.tensor([[-1.0], [0.5]], dtype=torch.float64)
    ours, ddim = (sample(oracle, oracle.schedule, sampler, x_T, times) for sampler in (names["Mine"](), DDIM()))
    assert torch.equal(ours, ddim) and names["Mine"].order == DDIM.order

    real = Features(torch.tensor([[0.0], [2.0]]).double())
    assert names["row"].what == "spread" and names["row"].against(real)(Features(real.values / 2)) == 0.25
    # a modality has to have these methods and no other
    assert {name for name in vars(names["Points"]) if not name.startswith("_")} == set(Modality.__abstractmethods__)


def test_it_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MAX_LINES
