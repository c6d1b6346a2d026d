"""The example of docs/extract.md runs as it stands there."""

import re
from pathlib import Path

from tests.extract.helpers import torch

PAGE = Path(__file__).parents[2] / "docs" / "extract.md"


def test_the_example(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    block, _ = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(block, str(PAGE), "exec"), names)
    assert torch.is_tensor(names["torch"].zeros(1))
    assert names["result"].verified
    assert (tmp_path / "small.safetensors").exists()
    assert capsys.readouterr().out == "100.0% of the MACs; not captured: []\n"
