"""Traces: looked at, cut, pruned, profiled."""

from __future__ import annotations

from pathlib import Path

import click

from simulator.commands.common import as_json_option, console, pairs, print_json, require_figure_file, save_figure_file
from simulator.errors import InputError


@click.command()
@click.argument("trace")
@click.option("--figure", type=click.Path(path_type=Path), help="Draw masks to this file, a .svg, .pdf or .png file.")
@click.option("--tensor", "tensors", multiple=True, metavar="OPERATOR.ROLE", help="With --figure: draw this one.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a parameter of a workload: seq=512.")
@as_json_option
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
        print_json(inspection_document(inspection))
    else:
        from simulator.results.text import print_inspection

        print_inspection(inspection, console())


def _of(path: str | Path, error: InputError) -> InputError:
    return error if str(error).startswith(f"{path}: ") else InputError(f"{path}: {error}")


@click.command()
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
@as_json_option
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
    as_json: bool,
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
    if as_json:
        print_json(
            {
                "output": str(output),
                "trace": made.name,
                "operators": len(made.operators),
                "macs": made.macs,
                "digest": made.digest,
            }
        )
    else:
        says = f"{made.name}, {len(made.operators)} operators, {made.macs:,} MACs, digest {made.digest[:12]}"
        click.echo(f"{output}: {says}")


@click.command()
@click.argument("trace")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The YAML file to write.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a parameter of a workload: seq=512.")
@click.option("--force", is_flag=True, help="Replace the file where there is one.")
@as_json_option
def profile(trace: str, output: Path, settings: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Fit a profile, a few numbers per tensor, to the masks of TRACE.

    A workload draws its masks from it with --set profile=FILE, at its own sizes.
    """
    from simulator.library.load import load_trace, share_settings
    from simulator.results.folder import writing
    from simulator.synthesis import fit_profile

    if output.exists() and not force:
        raise InputError(f"{output}: the file exists already; --force replaces it")
    work = load_trace(trace, share_settings(pairs(settings), trace, ())[1])
    fitted = fit_profile(work)
    with writing(output) as partial:
        partial.write_text(fitted.dump(), "utf-8")
    if as_json:
        print_json({"output": str(output), "trace": work.name, "digest": work.digest, "tensors": len(fitted.tensors)})
    else:
        click.echo(f"{output}: {len(fitted.tensors)} tensors")


@click.command()
@click.option("--page", type=click.Path(path_type=Path), help="Write the table as Markdown: docs/workloads.md.")
@click.option("--schema", type=click.Path(path_type=Path), help="Write the files' JSON schema: workloads/schema.json.")
@as_json_option
def workloads(page: Path | None, schema: Path | None, as_json: bool) -> None:
    """Show the workloads that come with Skipper: their work and parameters beside what others published."""
    from simulator.library.page import count_document, counts, schema_text, workloads_page
    from simulator.results.folder import writing
    from simulator.results.text import print_counts

    for path, text in ((page, workloads_page), (schema, schema_text)):
        if path is not None:
            with writing(path) as partial:
                partial.write_text(text(), "utf-8")
    written = [str(path) for path in (page, schema) if path is not None]
    if written and as_json:
        print_json({"written": written})
    elif as_json:
        print_json({"workloads": [count_document(each) for each in counts()]})
    elif not written:
        print_counts(counts(), console())


@click.command()
@click.argument("trace")
@click.option("--figure", type=click.Path(path_type=Path), help="Draw it to this file, a .svg, .pdf or .png file.")
@as_json_option
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
        print_json(kept_document(work, operators))
    else:
        from simulator.results.comparison import print_kept

        print_kept(work.name, operators, console())
