"""A small causal transformer on Python source, its attention detected the way DOTA does, as a trace of its integers.

Four steps, each a few lines below:

1. train a language model of characters, four layers of four heads, on the standard library's own source;
2. train it further together with one low-rank detector per layer (DOTA, ASPLOS 2022: L = L_model + λ · L_MSE, the
   mask applied in training), at first with all keys, then with fewer and fewer, down to each retention; and as many
   steps on the same batches without detectors, so that the comparison is fair;
3. judge all of them, in 8 bits, on modules held out;
4. run held-out sequences through the model of one retention and keep what its operators read: the trace.

Run ``python -m simulator.workloads.char_transformer`` (needs the extra ``[recipes]``; some ten minutes on two cores).
"""

from __future__ import annotations

import os

# So many threads and one set of instructions: sums in another order would train another network.
os.environ.update(
    OMP_NUM_THREADS="2",
    OMP_DYNAMIC="FALSE",
    OMP_WAIT_POLICY="PASSIVE",
    MKL_DYNAMIC="FALSE",
    OPENBLAS_NUM_THREADS="1",
    OPENBLAS_CORETYPE="Haswell",
    MKL_CBWR="AVX2",
    ONEDNN_MAX_CPU_ISA="AVX2",
    ATEN_CPU_CAPABILITY="avx2",
    CUBLAS_WORKSPACE_CONFIG=":4096:8",
)

import copy
import platform
import sysconfig
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from simulator.compress import recall, select
from simulator.compress.detector_torch import LowRankDetector
from simulator.compress.detector_torch import select as torch_select
from simulator.trace import (
    Attention,
    DensityTensor,
    Linear,
    Operator,
    Rowwise,
    Trace,
    ValueTensor,
    quantise,
    save_trace,
)

THREADS = int(os.environ["OMP_NUM_THREADS"])
LAYERS, FEATURES, HEADS, HIDDEN, SEQUENCE = 4, 64, 4, 88, 512
RANK, PRECISION = 32, 8
"""Rank k of the detectors and their bits."""
RETENTIONS = (0.05, 0.1, 0.2)
SHORT = 128
"""Length of the first training sequences: attention costs a quarter, and they may begin anywhere in the 512."""
SHORT_STEPS, DETECT_STEPS, LAST_STEPS = 500, 90, 60
BATCHES = {SHORT: 32, SEQUENCE: 4}
"""Sequences per step by their length."""
SHORT_RATE, LONG_RATE, DETECTOR_FACTOR = 4e-3, 2e-3, 3
"""Learning rates, that of long sequences falling to 0 in the last steps; and how much faster detectors learn."""
WARM_UP = 20
"""Steps in which the rate rises at the start of each stage."""
DETECTION_WEIGHT = 0.01
"""λ of L_MSE, the mean over the layers."""
SYMBOL_DEVIATION = 0.2
"""Of the first symbols' code: small beside that of the places, which a detector must tell apart."""
SAMPLED_QUERIES = 64
"""Queries per step, drawn, of which L_MSE is taken."""
UNMASKED, CURRICULUM = 2 / 3, (0.5, 0.2)
"""Part of the detecting steps without a mask; retentions from which and to which the mask then falls."""
CALIBRATE_EVERY = 25
TEST_SEQUENCES, RECALL_SEQUENCES = 64, 8
SYMBOLS = "".join(map(chr, range(32, 127))) + "\n"
VOCABULARY = len(SYMBOLS) + 1
"""The last symbol stands for every other character."""

TRAINING = """
    _pydecimal _pyio argparse ast asyncore base64 bdb calendar cgi cmd codecs collections contextlib copy dataclasses
    datetime difflib dis doctest enum fileinput fractions ftplib functools getopt gettext glob gzip hashlib imaplib
    inspect ipaddress locale lzma mailbox ntpath optparse os pathlib pdb pickle pickletools platform plistlib poplib
    posixpath pprint profile pstats pydoc random sched selectors shlex shutil smtplib socket socketserver ssl
    subprocess tarfile tempfile threading tokenize trace traceback turtle typing uuid zipfile zipimport
"""
HELD_OUT = "_strptime bz2 configparser csv heapq queue statistics string textwrap timeit weakref"
"""Modules of the standard library to learn from, and others to judge by; a module that is missing is left out."""


class EightBit(nn.Linear):
    """A fully connected layer without bias; once calibrated it multiplies 8-bit integers, one scale per tensor."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.register_buffer("step", torch.tensor(0.0))
        self.calibrating = False

    def forward(self, x: Tensor) -> Tensor:
        """Return the product (…, F_out) of x (…, F_in)."""
        x = self.read(x)
        if not self.step:
            return super().forward(x)
        weight = eight_bit(self.weight, self.weight.detach().abs().max() / 127)
        return functional.linear(x, weight)

    def read(self, x: Tensor) -> Tensor:
        """Return x as its 8-bit integers tell it, once calibrated."""
        if self.calibrating:
            self.step.copy_(x.abs().max() / 127)
        return eight_bit(x, self.step) if self.step else x

    def codes(self, x: Tensor) -> Tensor:
        """Return the 8-bit integers that x is read as."""
        return (self.read(x) / self.step).round()


class Heads(nn.Module):
    """Masked attention of all heads, and the detector that says what the mask keeps."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.detector = LowRankDetector(FEATURES, HEADS, RANK, PRECISION, seed, causal=True)
        self.detecting = self.calibrating = False
        self.retention = 1.0
        self.loss: Tensor | float = 0.0
        self.kept: Tensor | None = None

    def forward(self, tokens: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the context (N, H, L, D) of queries, keys and values of that shape; tokens are (N, L, C).

        Where it is detecting, `loss` becomes L_MSE of some of the queries, and `kept` what was kept (N, H, L, L).
        """
        self.loss, self.kept = 0.0, None
        if self.calibrating and self.detecting:
            self.detector.calibrate(tokens)
        if self.detecting and self.training:
            self.loss = self._squared_error(tokens, query, key)
        if not self.detecting or self.retention == 1:
            return functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        with torch.no_grad():
            self.kept = strongest(self.detector.integers(tokens), self.retention)
            bias = torch.zeros_like(self.kept, dtype=query.dtype).masked_fill_(~self.kept, -torch.inf)
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)

    def _squared_error(self, tokens: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """Return the mean squared error of the estimated scores of some queries with the keys they may look at.

        What all scores of a row have in common is no error: it changes neither the softmax nor the choice of keys.
        Half of the weight goes to the keys as softmax weighs them, half to all alike.
        """
        length = tokens.shape[1]
        rows = torch.randperm(length)[:SAMPLED_QUERIES].to(tokens.device)
        scores = query[:, :, rows] @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        allowed = torch.arange(length, device=tokens.device) <= rows[:, None]
        error = (scores - self.detector(tokens[:, rows], memory=tokens)).where(allowed, 0)
        strength = scores.detach().masked_fill(~allowed, -torch.inf).softmax(-1)
        weight = (strength + allowed / allowed.sum(-1, keepdim=True)) / 2
        error = error - (weight * error).sum(-1, keepdim=True)
        return (weight * error**2).sum(-1).mean()


class Block(nn.Module):
    """A layer of the transformer: attention and a feed-forward part, each after a norm and beside a shortcut."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.qkv, self.out = EightBit(FEATURES, 3 * FEATURES), EightBit(FEATURES, FEATURES)
        self.up, self.down = EightBit(FEATURES, HIDDEN), EightBit(HIDDEN, FEATURES)
        self.heads = Heads(seed)

    def forward(self, x: Tensor) -> Tensor:
        """Return what follows x (N, L, C), of the same shape."""
        tokens = self.qkv.read(norm(x))
        query, key, value = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(tokens).chunk(3, -1))
        x = x + self.out(self.heads(tokens, query, key, value).transpose(1, 2).flatten(2))
        return x + self.down(functional.relu(self.up(norm(x))))


class CharTransformer(nn.Module):
    """Symbols and their places, four layers, and the logits of the next symbol."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.symbols = nn.Embedding(VOCABULARY, FEATURES)
        nn.init.normal_(self.symbols.weight, std=SYMBOL_DEVIATION)
        self.places = nn.Parameter(sinusoids(SEQUENCE, FEATURES))
        self.layers = nn.ModuleList(Block(seed + layer) for layer in range(LAYERS))
        self.logits = EightBit(FEATURES, VOCABULARY)

    def forward(self, symbols: Tensor, first: int = 0) -> Tensor:
        """Return the logits (N, L, 97) of symbols (N, L) that stand at the places from `first` on."""
        x = self.symbols(symbols) + self.places[first : first + symbols.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.logits(norm(x))

    @property
    def heads(self) -> list[Heads]:
        """The attention of each layer."""
        return [layer.heads for layer in self.layers]

    def detect(self, retention: float) -> None:
        """From now on keep this part of the keys; with 1 the detectors learn, but nothing is left out."""
        for heads in self.heads:
            heads.detecting, heads.retention = True, retention

    def calibrate(self, symbols: Tensor) -> None:
        """Set the scales of the activations, the steps and shifts of the detectors, by a batch of symbols (N, L)."""
        parts = [module for module in self.modules() if isinstance(module, EightBit | Heads)]
        for part in parts:
            part.calibrating = True
        with torch.no_grad():
            self(symbols)
        for part in parts:
            part.calibrating = False


def norm(x: Tensor) -> Tensor:
    """Return layer norm; its gain and offset are left to the weights that follow."""
    return functional.layer_norm(x, x.shape[-1:])


def eight_bit(x: Tensor, step: Tensor) -> Tensor:
    """Return x rounded to −127 … 127 steps; the gradient passes straight through (Bengio et al., 2013)."""
    return torch.fake_quantize_per_tensor_affine(x, step, torch.zeros_like(step, dtype=torch.int32), -127, 127)


def sinusoids(length: int, features: int) -> Tensor:
    """Return a first code of the places (length, features): waves of 4 to 4 · length places."""
    waves = 2 * torch.pi / 4 / length ** torch.linspace(0, 1, features // 2)
    angles = torch.arange(length)[:, None] * waves
    return torch.cat([angles.sin(), angles.cos()], 1)


def strongest(scores: Tensor, retention: float) -> Tensor:
    """Return what `LowRankDetector.select` keeps by top_k of whole scores (N, H, L, L); on a CPU in half the time."""
    if scores.is_cuda:
        return torch_select(scores.to(torch.int64), "top_k", retention=retention, causal=True)
    with ThreadPoolExecutor(THREADS) as pool:
        parts = pool.map(
            lambda part: select(part, "top_k", retention=retention, causal=True),
            np.array_split(scores.to(torch.int32).numpy(), min(THREADS, len(scores))),
        )
        return torch.from_numpy(np.concatenate(list(parts)))


def read_modules(names: str) -> NDArray[np.uint8]:
    """Return the symbols of these modules of the standard library, one after the other."""
    folder = Path(sysconfig.get_path("stdlib"))
    paths = [folder / f"{name}.py" for name in names.split()]
    text = "".join(path.read_text("utf-8") for path in paths if path.exists())
    codes = {symbol: code for code, symbol in enumerate(SYMBOLS)}
    return np.array([codes.get(symbol, len(SYMBOLS)) for symbol in text], np.uint8)


def windows(text: Tensor, starts: Tensor, length: int) -> Tensor:
    """Return (N, length) symbols from these starts on."""
    return text[starts[:, None] + torch.arange(length)].long()


def train(
    model: CharTransformer, text: Tensor, length: int, rates: Sequence[float], retentions: Sequence[float], seed: int
) -> Iterator[int]:
    """Train, one step at each step of the iterator, which yields before it.

    Args:
        model: is changed.
        text: symbols, on the CPU.
        length: of a sequence.
        rates: learning rate of each step.
        retentions: of each step; none: without detectors.
        seed: of the batches, which are the same with detectors and without.

    """
    device = model.places.device
    draws = torch.Generator().manual_seed(seed)
    own = [parameter for heads in model.heads for parameter in heads.parameters()]
    other = [parameter for parameter in model.parameters() if all(parameter is not mine for mine in own)]
    optimiser = torch.optim.Adam([{"params": other}, {"params": own}], betas=(0.9, 0.98), fused=True)
    model.train()
    for step, rate in enumerate(rates):
        yield step
        if retentions:
            model.detect(retentions[step])
        starts = torch.randint(len(text) - length, (BATCHES[length],), generator=draws)
        first = int(torch.randint(SEQUENCE - length + 1, (), generator=draws))
        batch = windows(text, starts, length + 1).to(device)
        if step % CALIBRATE_EVERY == 0:
            model.calibrate(batch[:, :-1])
        logits = model(batch[:, :-1], first)
        loss = functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss = loss + DETECTION_WEIGHT * sum(heads.loss for heads in model.heads) / LAYERS
        for group, factor in zip(optimiser.param_groups, (1, DETECTOR_FACTOR), strict=True):
            group["lr"] = rate * factor * min(1, (step + 1) / WARM_UP)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(other, 1)
        optimiser.step()
    if length == SEQUENCE:
        model.calibrate(batch[:, :-1])


@dataclass(frozen=True)
class Quality:
    """What a model reaches on held-out text.

    Args:
        loss: cross-entropy, nats per character.
        accuracy: part of the characters that are the most probable one.
        recall: part of the truly strongest connections that the detectors keep; None without them.

    """

    loss: float
    accuracy: float
    recall: float | None


def judge(model: CharTransformer, sequences: Tensor) -> Quality:
    """Return the quality on sequences (N, 513), on the CPU."""
    model.eval()
    losses, hits = [], []
    with torch.no_grad():
        for part in sequences.split(8):
            batch = part.to(model.places.device)
            logits = model(batch[:, :-1]).flatten(0, 1)
            losses.append(functional.cross_entropy(logits, batch[:, 1:].flatten(), reduction="none").double().cpu())
            hits.append((logits.argmax(1) == batch[:, 1:].flatten()).double().cpu())
    return Quality(float(torch.cat(losses).mean()), float(torch.cat(hits).mean()), recall_of(model, sequences))


def recall_of(model: CharTransformer, sequences: Tensor) -> float | None:
    """Return the mean recall of the layers' detectors on some of the sequences, None without detectors."""
    if not model.heads[0].detecting:
        return None
    inputs = inputs_of(model, sequences[:RECALL_SEQUENCES, :-1])
    shares = []
    for heads in model.heads:
        _, query, key, _ = inputs[heads]
        scores = (query @ key.transpose(-1, -2)).cpu().numpy()
        shares.append(recall(heads.kept.cpu().numpy(), scores, causal=True))
    return float(np.mean(shares))


def inputs_of(model: CharTransformer, symbols: Tensor) -> dict[nn.Module, tuple[Tensor, ...]]:
    """Run symbols (N, L) through the model; return what each part of it was given."""
    seen: dict[nn.Module, tuple[Tensor, ...]] = {}
    hooks = [module.register_forward_pre_hook(seen.__setitem__) for module in model.modules()]
    model.eval()
    with torch.no_grad():
        model(symbols.to(model.places.device))
    for hook in hooks:
        hook.remove()
    return seen


def operators(model: CharTransformer, symbols: Tensor) -> list[Operator]:
    """Return the operators of symbols (N, L) run through the model, with the integers that they read.

    Raises:
        RuntimeError: the trace keeps other connections than the model kept.

    """
    inputs = inputs_of(model, symbols)
    hidden = DensityTensor((*symbols.shape, FEATURES), 1, 0)
    done: list[Operator] = []

    def norm_and_linear(before: str, after: str, linear: EightBit) -> ValueTensor:
        operator = linear_operator(after, linear, *inputs[linear])
        done.extend((Rowwise(before, hidden, output=operator.input, kind="layer_norm"), operator))
        return operator.input

    for index, layer in enumerate(model.layers):
        name = f"layers.{index}"
        tokens = norm_and_linear(f"{name}.attention.norm", f"{name}.attention.qkv", layer.qkv)
        heads = f"{name}.attention.heads"
        done.append(attention_operator(heads, layer.heads, tokens, *inputs[layer.heads]))
        done.append(linear_operator(f"{name}.attention.out", layer.out, *inputs[layer.out]))
        done.append(Rowwise(f"{name}.attention.add", hidden, hidden, kind="add"))
        norm_and_linear(f"{name}.ffn.norm", f"{name}.ffn.up", layer.up)
        down = linear_operator(f"{name}.ffn.down", layer.down, *inputs[layer.down])
        wide = DensityTensor(down.input.shape, 1, 0)
        done += [Rowwise(f"{name}.ffn.relu", wide, output=down.input, kind="relu"), down]
        done.append(Rowwise(f"{name}.ffn.add", hidden, hidden, kind="add"))
    norm_and_linear("norm", "logits", model.logits)
    return done


def linear_operator(name: str, linear: EightBit, x: Tensor) -> Linear:
    """Return the operator of a fully connected layer that was given x."""
    codes = linear.codes(x).to("cpu", torch.int8).numpy()
    return Linear(name, ValueTensor(codes, float(linear.step)), quantise(linear.weight.detach().cpu().numpy(), bits=8))


def attention_operator(
    name: str, heads: Heads, read: ValueTensor, tokens: Tensor, query: Tensor, key: Tensor, value: Tensor
) -> Attention:
    """Return the operator of attention that was given these tensors; `read` is what the linear layer before it read."""
    parts = (quantise(part.cpu().numpy(), bits=16) for part in (query, key, value))
    detector = heads.detector.export().arguments
    operator = Attention(name, *parts, tokens=read, causal=True, rule="top_k", retention=heads.retention, **detector)
    if not np.array_equal(heads.detector.tokens(tokens).values(), read.values()):
        raise RuntimeError(f"{name}: the detector sees other tokens than the linear layer before it")
    for image, head in np.ndindex(*heads.kept.shape[:2]):
        if not np.array_equal(operator.kept_mask(image, head), heads.kept[image, head].cpu().numpy()):
            raise RuntimeError(f"{name}: the trace keeps other connections than the model")
    return operator


def falling(first: float, last: float, steps: int) -> list[float]:
    """Return numbers from the first to the last, each the same part of the one before."""
    return np.geomspace(first, last, steps).tolist()


def train_all(
    text: Tensor, retentions: Sequence[float], seed: int, device: torch.device, console: Console
) -> dict[float | None, CharTransformer]:
    """Return the trained models, by retention; that of None is dense, and has done as many steps as each other."""

    def run(
        what: str, model: CharTransformer, length: int, rates: list[float], kept: list[float], stage: int
    ) -> CharTransformer:
        torch.manual_seed(seed)
        steps = train(model, text, length, rates, kept, seed + stage)
        for _ in track(steps, what, len(rates), console=console):
            pass
        return model

    torch.manual_seed(seed)
    dense = CharTransformer(seed).to(device)
    run(f"Dense, {SHORT} characters", dense, SHORT, [SHORT_RATE] * SHORT_STEPS, [], 0)
    unmasked, rates = round(UNMASKED * DETECT_STEPS), [LONG_RATE] * DETECT_STEPS
    kept = [1.0] * unmasked + falling(*CURRICULUM, DETECT_STEPS - unmasked)
    sparse = run("Detecting", copy.deepcopy(dense), SEQUENCE, rates, kept, 1)
    run("Dense, as long", dense, SEQUENCE, rates, [], 1)
    rates = np.linspace(LONG_RATE, 0, LAST_STEPS, endpoint=False).tolist()
    models: dict[float | None, CharTransformer] = {None: run("Dense, to the end", dense, SEQUENCE, rates, [], 2)}
    for retention in retentions:
        kept = falling(CURRICULUM[1], retention, LAST_STEPS // 4) + [retention] * (LAST_STEPS - LAST_STEPS // 4)
        models[retention] = run(f"Retention {retention:.0%}", copy.deepcopy(sparse), SEQUENCE, rates, kept, 2)
    return models


def table(qualities: dict[float | None, Quality]) -> Table:
    """Return the quality of each model beside that of the dense one."""
    dense = qualities[None]
    caption = f"Loss in nats per character, of {TEST_SEQUENCES} x {SEQUENCE} held-out characters; all in 8 bits."
    result = Table("retention", caption=caption)
    for column in ("loss", "to dense", "accuracy", "to dense", "recall"):
        result.add_column(column, justify="right")
    for retention, quality in qualities.items():
        loss, accuracy = f"{quality.loss:.4f}", f"{quality.accuracy:.2%}"
        if retention is None:
            result.add_row("dense", loss, "", accuracy, "", "")
            continue
        more = f"{quality.loss / dense.loss - 1:+.2%}"
        points = f"{100 * (quality.accuracy - dense.accuracy):+.2f} points"
        result.add_row(f"{retention:.0%}", loss, more, accuracy, points, f"{quality.recall:.1%}")
    return result


@click.command(context_settings={"show_default": True})
@click.option("--output", type=click.Path(path_type=Path), help="Trace file; else the shipped one.")
@click.option("--sequences", type=click.IntRange(1, TEST_SEQUENCES), default=2, help="Held-out sequences in the trace.")
@click.option("--retention", type=click.FloatRange(0.01, 0.99), default=0.1, help="Part of the keys kept in the trace.")
@click.option("--seed", type=int, default=0, help="Seed of weights, projections and batches.")
@click.option("--device", help="Device of PyTorch; else a GPU where there is one. The shipped trace is of the cpu.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def main(output: Path | None, sequences: int, retention: float, seed: int, device: str | None, force: bool) -> None:
    """Train a transformer on Python source, dense and with detectors, and write the trace of its integers."""
    target = output or Path(__file__).parents[1] / "traces" / "char_transformer.safetensors"
    if target.exists() and not force:
        raise click.ClickException(f"{target} exists; --force overwrites it")
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    console = Console()
    text, held_out = (torch.from_numpy(read_modules(names)) for names in (TRAINING, HELD_OUT))
    starts = torch.arange(TEST_SEQUENCES) * ((len(held_out) - SEQUENCE - 1) // (TEST_SEQUENCES - 1))
    tests = windows(held_out, starts, SEQUENCE + 1)
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    console.print(f"{len(text):,} characters to learn from, {len(held_out):,} held out; on {chosen}.")
    models = train_all(text, sorted({*RETENTIONS, retention}), seed, chosen, console)
    judged = track(models.items(), "Judging", console=console)
    qualities = {kept: judge(model, tests) for kept, model in judged}
    dense, sparse = qualities[None], qualities[retention]
    provenance = {
        "recipe": "workloads/char_transformer.py",
        "dataset": f"source of the standard library, the first {sequences} of {TEST_SEQUENCES} held-out sequences",
        "python": platform.python_version(),
        "seed": str(seed),
        "detector": f"one per layer, rank {RANK}, {PRECISION} bits, trained with the model, retention {retention:g}",
        "loss dense": f"{dense.loss:.4f}",
        "loss": f"{sparse.loss:.4f}",
        "accuracy dense": f"{dense.accuracy:.4f}",
        "accuracy": f"{sparse.accuracy:.4f}",
        "recall": f"{sparse.recall:.4f}",
        **{library: version(library) for library in ("torch", "numpy")},
    }
    trace = Trace("char_transformer", tuple(operators(models[retention], tests[:sequences, :-1])), provenance)
    save_trace(trace, target, force)
    console.print(table(qualities))
    further = DETECT_STEPS + LAST_STEPS
    console.print(f"{SHORT_STEPS} dense steps in common, then {further} of each model's own, the dense one's too.")
    console.print(f"Wrote {target} ({target.stat().st_size:,} bytes).")


if __name__ == "__main__":
    main()
