"""What docs/tools.md shows works as pasted."""

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from simulator import load_trace
from simulator.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "tools.md").read_text("utf-8")


def test_the_commands_work_as_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for command in commands.splitlines():
        program, *arguments = shlex.split(command)
        assert program == "skipper"
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
    assert len(load_trace("both.safetensors").operators) == 6 + 7
    assert {path.suffix for path in tmp_path.iterdir()} == {".svg", ".png", ".safetensors"}


def test_every_option_is_told():
    for command in ("convert", "inspect"):
        for option in main.commands[command].params:
            names = [name for name in option.opts if name.startswith("-") and name != "--json"]
            assert not names or any(name in PAGE for name in names), names
