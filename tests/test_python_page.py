"""The program of docs/python.md runs, with fewer steps, and leaves the runs that it says."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import ROOT, run_python


def test_the_program_of_the_page_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    program = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    assert program.count("steps=300, batch=64") == 4
    quick = program.replace("steps=300, batch=64", "steps=2, batch=4, limit=40").replace("% 100", "% 1")
    (tmp_path / "page.py").write_text(quick)
    done = run_python("page.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["digits", "huber", "mine", "objects"]
    assert "1 of 10: t = " in done.stdout and "10 of 10: t = 0.00 torch.Size([8, 1, 28, 28])" in done.stdout
    assert len(list((tmp_path / "out").glob("*.png"))) == 17 and (tmp_path / "one" / "0-3.png").is_file()
    recipe = (tmp_path / "runs" / "objects" / "recipe.toml").read_text()
    assert 'of = "__main__.Net"' in recipe and 'of = "__main__.Softer(gamma=3.0)"' in recipe
