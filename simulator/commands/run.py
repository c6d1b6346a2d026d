"""Running a trace on a chip."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import click

from simulator.commands.common import as_json_option, console, left_out, operator_name, pairs, print_json
from simulator.errors import InputError, LawViolation


@click.command()
@click.argument("arch")
@click.argument("trace")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the results; runs/ARCH-TRACE[-MEMORY] if not given."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a parameter of the chip, such as array.blocks=16, or of a workload, such as seq=512.",
)
@click.option(
    "--memory",
    default="simple",
    show_default=True,
    metavar="MEMORY",
    help="'simple': bandwidth and latency; 'detailed': the DRAM that ARCH names, command by command; or a DRAM's name "
    "or YAML file.",
)
@click.option(
    "--without",
    metavar="TYPES",
    help="Leave out operators of these types, such as rowwise,matmul; says how much that is.",
)
@click.option("--check", is_flag=True, help="Compute real values, too, and compare them with plain NumPy, exactly.")
@as_json_option
@click.option("--timeline", type=click.Path(path_type=Path), help="Write a timeline for ui.perfetto.dev to this file.")
@click.option("--force", is_flag=True, help="Replace what the output folder holds.")
def run(
    arch: str,
    trace: str,
    out: Path | None,
    settings: tuple[str, ...],
    memory: str,
    without: str | None,
    check: bool,
    as_json: bool,
    timeline: Path | None,
    force: bool,
) -> None:
    """Simulate TRACE on ARCH (a name, or a YAML file).

    TRACE is a trace file, a workload's YAML file, a CSV table of densities with shapes, or the name of a shipped trace
    or workload.
    """
    from simulator.accelerators import load_arch
    from simulator.arch import read_config
    from simulator.library.load import load_trace, share_settings
    from simulator.memory import choose_memory
    from simulator.results.folder import require_file, require_free, write_run, writing
    from simulator.simulation import run_digests, simulate

    of_chip, of_work = share_settings(pairs(settings), trace, read_config(arch).provenance)
    machine = load_arch(arch, of_chip)
    chosen = choose_memory(memory, machine.chip, machine.config.origin)
    work, left = left_out(load_trace(trace, of_work), without)
    names = [work.name] if left is None else [work.name, "without", *left.types]
    named = [machine.name, *names, *([] if chosen.detailed is None else [chosen.detailed.name])]
    folder = out or Path("runs") / re.sub(r"[^\w.-]+", "_", "-".join(named))[:200]
    require_free(folder, run_digests(work, machine, chosen), force, check)
    if timeline is not None:
        require_file(timeline, folder)
    with click.progressbar(
        length=len(work.operators), file=sys.stderr, hidden=not sys.stderr.isatty(), item_show_func=operator_name
    ) as bar:
        try:
            result = simulate(
                work, machine, check, lambda operator: bar.update(1, operator), memory=chosen.detailed or memory
            )
        except InputError as error:
            raise InputError(f"{trace} on {arch}: {error}") from None
    result = replace(result, left_out=left)
    if timeline is None:
        write_run(result, folder, force)
    else:
        from simulator.results.perfetto import write_perfetto

        with writing(timeline) as partial:  # both files, or neither
            write_perfetto(result, partial)
            write_run(result, folder, force)
    if as_json:
        print_json(result.summary)
    else:
        from simulator.results.text import print_result

        print_result(result, console(), folder)
    if result.verified is False:
        raise LawViolation("the chip's own loops and plain NumPy give different values; see operators.parquet")
