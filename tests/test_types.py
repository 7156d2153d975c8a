"""What `py.typed` promises: the README's lines pass a user's type checker."""

import re
import subprocess
import sys

import pytest
from support import ROOT

pytest.importorskip("mypy", reason="mypy is not installed")
pytestmark = pytest.mark.slow
BEFORE = "import torch\nmodel: torch.nn.Module\nimages: torch.Tensor\nlabels: torch.Tensor\nlayers: list[str]\n"


def test_readmes_lines_have_the_types_that_are_promised(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.search(r"```python\n(from dclib import correct, fit.*?)```", text, re.DOTALL).group(1)
    path = tmp_path / "lines.py"
    path.write_text(BEFORE + lines)
    # By the options of `make lint`, so that what mypy keeps of torch's types after it serves here too.
    done = subprocess.run([sys.executable, "-m", "mypy", path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
