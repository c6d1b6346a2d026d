"""What comes with Skipper, and what a chip is made of."""

from __future__ import annotations

from collections.abc import Mapping

import click

from simulator.commands.common import as_json_option, console, pairs, print_json
from simulator.errors import InputError


@click.command()
@click.argument("arch")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a parameter, such as array.blocks=16.")
@click.option(
    "--memory", metavar="MEMORY", help="Show a DRAM instead: 'detailed', that of ARCH, or a name or YAML file."
)
@click.option("--area", is_flag=True, help="Show area, power and leakage part by part, beside what was published.")
@click.option("--technology", help="With --area: a shipped table, or a CSV file, in the place of the chip's own.")
@as_json_option
def show(
    arch: str, settings: tuple[str, ...], memory: str | None, area: bool, technology: str | None, as_json: bool
) -> None:
    """Show every parameter of ARCH and where it comes from; or its area, also of chips known from publications only."""
    if area and memory is not None:
        raise InputError("show: --area and --memory are two things to show; expected one of them")
    if area:
        _show_area(arch, pairs(settings), technology, as_json)
        return
    if technology is not None:
        raise InputError("show: --technology goes with --area only; expected 'skipper show ARCH --area'")
    from simulator.accelerators import load_arch
    from simulator.memory import choose_memory
    from simulator.results.text import arch_document, print_arch

    machine = load_arch(arch, pairs(settings))
    chosen = None if memory is None else choose_memory(memory, machine.chip, machine.config.origin).detailed
    if as_json:
        print_json(arch_document(machine if chosen is None else chosen))
    else:
        print_arch(machine if chosen is None else chosen, console())


def _show_area(arch: str, settings: Mapping[str, str], technology: str | None, as_json: bool) -> None:
    from simulator.results.area import chip_report
    from simulator.results.area_text import print_report

    report = chip_report(arch, settings, technology)
    if as_json:
        print_json(report.document())
    else:
        print_report(report, console())


@click.command("list")
@as_json_option
def list_all(as_json: bool) -> None:
    """List the architectures, traces, workloads, memories and technologies that come with Skipper."""
    from simulator.arch import list_configs, list_memories, list_technologies
    from simulator.library import list_workloads
    from simulator.trace import list_traces

    found = {
        "architectures": list_configs(),
        "traces": list_traces(),
        "workloads": list_workloads(),
        "memories": list_memories(),
        "technologies": list_technologies(),
    }
    if as_json:
        print_json(found)
        return
    for title, names in found.items():
        click.echo(f"{title}:")
        for name in names:
            click.echo(f"  {name}")
