"""The command ``skipper``: parses, calls, prints."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simulator import __version__
from simulator.commands.common import console, left_out, operator_name, pairs, require_figure_file, save_figure_file
from simulator.commands.compare import compare
from simulator.commands.reproduce import reproduce
from simulator.errors import InputError, LawViolation

if TYPE_CHECKING:
    from simulator.extract import Extraction


class Group(click.Group):
    """Commands that end in one sentence and status 2 where the input is unusable, and never in a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command chosen."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            _refuse(ctx, str(error))
        except LawViolation as error:
            click.echo(f"skipper: the simulator breaks one of its laws, which is a defect: {error}", err=True)
            ctx.exit(1)
        except BrokenPipeError:
            sys.stderr.close()
            ctx.exit(0)
        except OSError as error:
            _refuse(ctx, f"{error.filename or 'a file'}: {error.strerror or error}")


def _refuse(ctx: click.Context, sentence: str) -> None:
    click.echo(f"skipper: {' '.join(sentence.split())}", err=True)
    ctx.exit(2)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="skipper")
def main() -> None:
    """Skipper: a cycle-level simulator of accelerators that skip work.

    A trace of the work and a configuration of the chip go in; cycles, energy and bandwidth come out, and the
    reasons for them.
    """


@main.command()
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
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON instead of the table.")
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
        click.echo(json.dumps(result.summary, indent=2))
    else:
        from simulator.results.text import print_result

        print_result(result, console(), folder)
    if result.verified is False:
        raise LawViolation("the chip's own loops and plain NumPy give different values; see operators.parquet")


@main.command()
@click.argument("model", metavar="MODULE:CALLABLE|FILE.onnx")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    required=True,
    metavar="[NAME=]FILE|SHAPE",
    help="An input, in order or by NAME: a .npy, .npz or .safetensors file, or a shape to draw, such as 1x3x224x224 or "
    "1x128:int64:30522 (whole numbers below 30522).",
)
@click.option("--weights", type=click.Path(path_type=Path), help="Of PyTorch: safetensors or a state dict.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The trace: a .safetensors file.")
@click.option("--name", default="", help="Name of the trace; that of the output file if not given.")
@click.option("--bits", default=8, show_default=True, help="Bits of weights and activations.")
@click.option("--percentile", default=100.0, show_default=True, help="Of an activation: becomes the largest integer.")
@click.option(
    "--hybrid", type=int, metavar="M", help="Compress weights for ESCALATE: M basis kernels, ternary; not retrained."
)
@click.option("--seed", default=0, show_default=True, help="Of inputs and weights that are drawn.")
@click.option("--force", is_flag=True, help="Replace the output file.")
def extract(
    model: str,
    inputs: tuple[str, ...],
    weights: Path | None,
    output: Path,
    name: str,
    bits: int,
    percentile: float,
    hybrid: int | None,
    seed: int,
    force: bool,
) -> None:
    """Run a PyTorch or ONNX model once and write what it computes as a trace.

    MODULE:CALLABLE returns the nn.Module, such as torchvision.models:resnet18; the folder you are in is searched, too.
    """
    from simulator.compress import hybrid_quantise
    from simulator.extract import capture, capture_onnx, require_onnx, require_torch
    from simulator.results.folder import require_file
    from simulator.trace import save_trace

    if output.suffix != ".safetensors":
        raise InputError(f"{output}: a trace is a .safetensors file")
    if output.exists() and not force:
        raise InputError(f"{output}: the file exists already; --force replaces it")
    require_file(output)
    from simulator.extract.settings import checked_seed
    from simulator.extract.text import print_extraction

    seed = checked_seed(seed)
    run_model: Callable[..., Extraction]
    network: Any = Path(model)
    if model.endswith(".onnx"):
        require_onnx()
        from simulator.extract.onnx.run import load_inputs

        if weights is not None:
            raise InputError(f"--weights {weights}: an ONNX file holds its own weights")
        run_model = capture_onnx
    else:
        require_torch()
        from simulator.extract.loading import load_inputs, load_model, load_weights

        network, run_model = load_model(model, seed), capture
        if weights is not None:
            load_weights(network, weights)
    args, kwargs = load_inputs(inputs, seed)
    with console(stderr=True).status(f"running {model}") as status:
        found = run_model(
            network,
            args,
            named=kwargs,
            name=name or output.stem,
            bits=bits,
            percentile=percentile,
            folder=output.absolute().parent,
            progress=lambda module, count: status.update(f"{count} operators, {module}"),
        )
    if hybrid is not None:
        found = replace(found, trace=hybrid_quantise(found.trace, hybrid))
    save_trace(found.trace, output, force)
    print_extraction(found, console(), str(output))


@main.command()
@click.argument("arch")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a parameter, such as array.blocks=16.")
@click.option(
    "--memory", metavar="MEMORY", help="Show a DRAM instead: 'detailed', that of ARCH, or a name or YAML file."
)
@click.option("--area", is_flag=True, help="Show area, power and leakage part by part, beside what was published.")
@click.option("--technology", help="With --area: a shipped table, or a CSV file, in the place of the chip's own.")
@click.option("--json", "as_json", is_flag=True, help="With --area: print JSON instead of the tables.")
def show(
    arch: str, settings: tuple[str, ...], memory: str | None, area: bool, technology: str | None, as_json: bool
) -> None:
    """Show every parameter of ARCH and where it comes from; or its area, also of chips known from publications only."""
    if area and memory is not None:
        raise InputError("show: --area and --memory are two things to show; expected one of them")
    if area:
        _show_area(arch, pairs(settings), technology, as_json)
        return
    if technology is not None or as_json:
        raise InputError("show: --technology and --json go with --area only; expected 'skipper show ARCH --area'")
    from simulator.accelerators import load_arch
    from simulator.memory import choose_memory
    from simulator.results.text import print_arch

    machine = load_arch(arch, pairs(settings))
    chosen = None if memory is None else choose_memory(memory, machine.chip, machine.config.origin).detailed
    print_arch(machine if chosen is None else chosen, console())


def _show_area(arch: str, settings: Mapping[str, str], technology: str | None, as_json: bool) -> None:
    from simulator.results.area import chip_report
    from simulator.results.area_text import print_report

    report = chip_report(arch, settings, technology)
    if as_json:
        click.echo(json.dumps(report.document(), indent=2))
    else:
        print_report(report, console())


@main.command("list")
def list_all() -> None:
    """List the architectures, traces, workloads, memories and technologies that come with Skipper."""
    from simulator.arch import list_configs, list_memories, list_technologies
    from simulator.library import list_workloads
    from simulator.trace import list_traces

    for title, names in (
        ("architectures", list_configs()),
        ("traces", list_traces()),
        ("workloads", list_workloads()),
        ("memories", list_memories()),
        ("technologies", list_technologies()),
    ):
        click.echo(f"{title}:")
        for name in names:
            click.echo(f"  {name}")


@main.command()
@click.argument("trace")
@click.option("--figure", type=click.Path(path_type=Path), help="Draw masks to this file, a .svg, .pdf or .png file.")
@click.option("--tensor", "tensors", multiple=True, metavar="OPERATOR.ROLE", help="With --figure: draw this one.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a parameter of a workload: seq=512.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def inspect(
    trace: str, figure: Path | None, tensors: tuple[str, ...], settings: tuple[str, ...], as_json: bool
) -> None:
    """Show the operators of TRACE: shapes, work, what is known of each tensor, density, size and imbalance."""
    from simulator.library.load import load_trace, share_settings
    from simulator.results.inspection import inspect_trace, inspection_document

    if tensors and figure is None:
        raise InputError("inspect: --tensor says what a figure draws; expected --figure FILE, too")
    require_figure_file(figure)
    work = load_trace(trace, share_settings(pairs(settings), trace, ())[1])
    try:
        inspection = inspect_trace(work)
        if figure is not None:
            from simulator.results.masks import mask_maps
            from simulator.results.masks_figure import masks_figure

            save_figure_file(masks_figure(work.name, mask_maps(work, tensors)), figure)
    except InputError as error:
        raise _of(trace, error) from None
    if as_json:
        click.echo(json.dumps(inspection_document(inspection), indent=2))
    else:
        from simulator.results.text import print_inspection

        print_inspection(inspection, console())


def _of(path: str | Path, error: InputError) -> InputError:
    return error if str(error).startswith(f"{path}: ") else InputError(f"{path}: {error}")


@main.command()
@click.argument("traces", metavar="TRACE...", nargs=-1, required=True)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The trace: a .safetensors file.")
@click.option("--only", "names", multiple=True, metavar="GLOB", help="Keep operators of such names, as 'layer1.*'.")
@click.option("--without", multiple=True, metavar="GLOB", help="Leave out operators of such names.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Keep operators of this type, such as conv2d.")
@click.option(
    "--layers",
    multiple=True,
    metavar="PLACES|NAME[:NAME]",
    help="Keep these: 0:4 (without 4), 0,2, conv1:conv4 (with).",
)
@click.option("--samples", metavar="PLACES", help="Keep these images: 0, 0:4 (without 4), 0,2,5:8.")
@click.option(
    "--prune",
    "prunings",
    multiple=True,
    metavar="[GLOB.]ROLE=HOW",
    help="Prune to a density, weight=0.2, or N:M, weight=2:4.",
)
@click.option(
    "--per", default="tensor", show_default=True, metavar="WHAT", help="Prune each tensor, filter or channel to it."
)
@click.option("--seed", default=0, show_default=True, help="Of masks that are pruned by chance.")
@click.option("--name", help="Name of the trace; that of the first, or of all with + between them, if not given.")
@click.option("--force", is_flag=True, help="Replace the output file.")
def convert(
    traces: tuple[str, ...],
    output: Path,
    names: tuple[str, ...],
    without: tuple[str, ...],
    types: tuple[str, ...],
    layers: tuple[str, ...],
    samples: str | None,
    prunings: tuple[str, ...],
    per: str,
    seed: int,
    name: str | None,
    force: bool,
) -> None:
    """Make a trace of one TRACE or several: merged, then some operators, then some images, then pruned.

    Patterns and types add up; --only, --type and --layers each leave those that they name.
    """
    from simulator.edit import Pruning, Selection, convert_traces
    from simulator.edit.target import require_target
    from simulator.library.load import load_trace
    from simulator.trace import save_trace

    require_target(output, traces, force)
    if per != "tensor" and not prunings:
        raise InputError("convert: --per says how to prune; expected --prune ROLE=DENSITY, too")
    wanted = [Pruning.parse(pruning, per) for pruning in prunings]
    work = [load_trace(trace) for trace in traces]
    selection = Selection(names, types, layers, without)
    try:
        made = convert_traces(work, selection, samples, wanted, seed, name)
        save_trace(made, output, force)
    except InputError as error:
        raise error if len(traces) > 1 or str(error).startswith(f"{output}: ") else _of(traces[0], error) from None
    click.echo(f"{output}: {made.name}, {len(made.operators)} operators, {made.macs:,} MACs, digest {made.digest[:12]}")


@main.command()
@click.argument("trace")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The YAML file to write.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a parameter of a workload: seq=512.")
@click.option("--force", is_flag=True, help="Replace the file where there is one.")
def profile(trace: str, output: Path, settings: tuple[str, ...], force: bool) -> None:
    """Fit a profile, a few numbers per tensor, to the masks of TRACE.

    A workload draws its masks from it with --set profile=FILE, at its own sizes.
    """
    from simulator.library.load import load_trace, share_settings
    from simulator.results.folder import writing
    from simulator.synthesis import fit_profile

    if output.exists() and not force:
        raise InputError(f"{output}: the file exists already; --force replaces it")
    fitted = fit_profile(load_trace(trace, share_settings(pairs(settings), trace, ())[1]))
    with writing(output) as partial:
        partial.write_text(fitted.dump(), "utf-8")
    click.echo(f"{output}: {len(fitted.tensors)} tensors")


@main.command()
@click.option("--page", type=click.Path(path_type=Path), help="Write the table as Markdown: docs/workloads.md.")
@click.option("--schema", type=click.Path(path_type=Path), help="Write the files' JSON schema: workloads/schema.json.")
def workloads(page: Path | None, schema: Path | None) -> None:
    """Show the workloads that come with Skipper: their work and parameters beside what others published."""
    from simulator.library.page import counts, schema_text, workloads_page
    from simulator.results.folder import writing
    from simulator.results.text import print_counts

    for path, text in ((page, workloads_page), (schema, schema_text)):
        if path is not None:
            with writing(path) as partial:
                partial.write_text(text(), "utf-8")
    if page is None and schema is None:
        print_counts(counts(), console())


@main.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--technology", required=True, help="Name of a shipped table, or a CSV file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def price(folder: Path, technology: str, as_json: bool) -> None:
    """Price a finished RUN (its folder) with another technology table, without simulating again."""
    from simulator.arch import load_technology
    from simulator.results.pricing import reprice
    from simulator.results.text import print_energy

    table = load_technology(technology)
    energy = reprice(folder, table)
    if as_json:
        total = sum(energy.values())
        click.echo(json.dumps({"technology": table.name, "energy_pj": total, "energy_by_component_pj": energy}))
    else:
        print_energy(energy, table.name, console())


@main.command()
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--figure", type=click.Path(path_type=Path), help="Draw it to this file, a .svg, .pdf or .png file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def shares(folders: tuple[Path, ...], figure: Path | None, as_json: bool) -> None:
    """Show what each family of operators takes of a finished RUN (its folder), or of several, side by side.

    Operators whose dotted names differ in numbers only are a family. Ratios are to the first run.
    """
    from simulator.results.shares import read_runs, shares, shares_document

    require_figure_file(figure, *folders)
    runs = shares(read_runs(folders))
    if figure is not None:
        from simulator.results.shares_figure import shares_figure

        save_figure_file(shares_figure(runs), figure)
    if as_json:
        click.echo(json.dumps(shares_document(runs), indent=2))
    else:
        from simulator.results.comparison import print_shares

        print_shares(runs, console())


@main.command()
@click.argument("trace")
@click.option("--figure", type=click.Path(path_type=Path), help="Draw it to this file, a .svg, .pdf or .png file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def kept(trace: str, figure: Path | None, as_json: bool) -> None:
    """Show the connections that each head of the attention operators of TRACE keeps; the figure also maps them."""
    from simulator.library import load_trace
    from simulator.results.kept import kept_connections, kept_document

    require_figure_file(figure)
    work = load_trace(trace)
    image = None if figure is None else 0
    try:
        operators = kept_connections(work, image)
    except InputError as error:
        raise InputError(f"{trace}: {error}") from None
    if figure is not None and image is not None:
        from simulator.results.kept_figure import kept_figure

        save_figure_file(kept_figure(work.name, operators, image), figure)
    if as_json:
        click.echo(json.dumps(kept_document(work, operators), indent=2))
    else:
        from simulator.results.comparison import print_kept

        print_kept(work.name, operators, console())


main.add_command(compare)
main.add_command(reproduce)
