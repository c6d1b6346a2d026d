"""Traces from models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simulator.commands.common import as_json_option, console, print_json
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.extract import Extraction


@click.command()
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
@as_json_option
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
    as_json: bool,
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
    from simulator.extract.report import extraction_document
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
    if as_json:
        print_json({"output": str(output), **extraction_document(found)})
    else:
        print_extraction(found, console(), str(output))
