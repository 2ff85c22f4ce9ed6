"""The task of docs/new-task.md, as a reader would try it: in a folder of their own."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support import ROOT, trainer_main


def test_the_task_of_the_page_trains(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "new-task.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    assert len(code.splitlines()) < 60
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "house_prices.py").write_text(code, encoding="utf-8")
    command = re.findall(r"python -m trainer.main (.*)", page)[0].split()
    done = trainer_main(*command, "--progress=none", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    final = json.loads((tmp_path / "runs" / "house_prices" / "run.json").read_text())["final"]
    assert final["val_mae"] < 0.2  # the noise alone gives 0.08; prices spread by 0.9
