"""The README's own program runs and learns what it says."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import ROOT, run_python


def test_the_training_script_learns_the_moons(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    script = next(block for block in blocks if "class Net" in block)
    assert 25 <= len([line for line in script.splitlines() if line.strip()]) <= 40
    (tmp_path / "script.py").write_text(script)
    done = run_python("script.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    distance = float(done.stdout.split(":")[1])
    assert distance < 0.08  # 0.04 here
