"""What a workload file may hold: one strict model per type of layer, with a docstring per field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from simulator.arch.part import Part

Number = StrictInt | StrictFloat | StrictStr
"""A number, or an expression over the parameters such as ``seq // 16 + 1``."""
Name = Annotated[str, Field(pattern=r"^[a-z]\w*$")]
"""What stands for a number in expressions."""
Flag = StrictBool | Number
"""True or false, or an expression that is not 0."""
Pair = Number | Annotated[list[Number], Field(min_length=2, max_length=2)]
"""One number for both directions, or [vertical, horizontal]."""


class Layer(Part):
    """What every layer may say."""

    name: str | None = Field(None, pattern=r"^[\w-]+(\.[\w-]+)*$")
    """How its operators are called; the type if not given. Groups put their own name and a dot before it."""
    when: Number = 1
    """The layer is left out where this is 0 (or false)."""
    repeat: Number = 1
    """How often, one after the other; ``i`` counts from 0 in expressions, and in names where this is written."""


class Weighted(Layer):
    """A layer with a weight."""

    bias: Flag = False
    """Whether it has one bias per output: counted among the parameters, no multiply-accumulate."""
    weight_density: Number | None = None
    """Part of the weight that is not zero; the parameter ``weight_density`` if not given."""
    input_density: Number | None = None
    """Part of its input that is not zero; what the layer before says if not given."""
    density: Number | None = None
    """Part of its output, after the activation function, that is not zero; else ``activation_density``."""


class Conv(Weighted):
    """A convolution of the current (N, C, H, W)."""

    type: Literal["conv"]
    """A convolution."""
    out: Number
    """Output channels K."""
    kernel: Pair
    """Size of the kernel."""
    stride: Pair = 1
    """Step of the kernel."""
    padding: Pair | None = None
    """Zeros around the input; (kernel − 1) · dilation // 2 if not given."""
    dilation: Pair = 1
    """Distance between elements of the kernel."""
    groups: Number = 1
    """Groups of channels; ``groups: channels`` is a depthwise convolution (``channels`` is C here)."""
    norm: Flag = False
    """Whether a batch norm follows: 2 parameters per output channel, folded into the weight when it runs."""


class Linear(Weighted):
    """A fully connected layer on the last axis."""

    type: Literal["linear"]
    """A fully connected layer."""
    out: Number
    """Output features."""
    tied: Flag = False
    """Whether the weight is that of another layer and its parameters are counted there."""
    norm: Flag = False
    """Whether a batch norm follows: 2 parameters per output feature."""


class Pool(Layer):
    """A pooling of the current (N, C, H, W): it changes the shape, no operator is made of it."""

    type: Literal["pool"]
    """Pooling, maximum or average."""
    kernel: Pair | None = None
    """Size of the window; the whole image (global pooling) if not given."""
    stride: Pair | None = None
    """Step of the window; its size if not given."""
    padding: Pair = 0
    """Margin around the input."""
    ceil: StrictBool = False
    """Whether a window may reach over the far edge."""
    density: Number | None = None
    """Part of its output that is not zero; that of its input if not given."""


class Reshape(Layer):
    """Another view of the current tensor: no operator, no parameters."""

    type: Literal["reshape"]
    """A change of shape."""
    to: Literal["flat", "tokens", "first", "pairs", "shape"]
    """``flat``: (N, everything); ``tokens``: (N, C, H, W) or (N, L, C) as (N, tokens, C); ``first``: one token of all,
    or their mean; ``pairs``: (2N, F) as (N, 2F); ``shape``: the one given."""
    shape: list[Number] = Field(default_factory=list)
    """Of ``shape``, with as many elements: heads as (N · H, L, D)."""
    extra: Number = 0
    """Tokens put before the others (class token)."""


class Parameters(Layer):
    """Parameters without an operator: embeddings that are looked up, class tokens."""

    type: Literal["parameters"]
    """Parameters that no operator holds."""
    count: Number
    """How many."""


class MatMul(Layer):
    """Products of the current (…, m, k) and a drawn (…, k, n): queries and keys, scores and values."""

    type: Literal["matmul"]
    """A batch of products of two activations."""
    out: Number
    """Columns n of the other."""
    other_density: Number | None = None
    """Part of the other that is not zero; ``activation_density`` if not given."""
    density: Number | None = None
    """Part of its output that is not zero; ``activation_density`` if not given."""


class Rowwise(Layer):
    """What a transformer does between its products, see the operator `rowwise`."""

    type: Literal["rowwise"]
    """A row-wise operator of one operand."""
    kind: Literal["softmax", "layer_norm", "rms_norm", "gelu", "silu", "relu"]
    """Its kind."""
    affine: Number | None = None
    """Parameters per feature; 2 of layer_norm, 1 of rms_norm and 0 of others if not given."""
    density: Number | None = None
    """Part of its output that is not zero; that of its input, or of relu ``activation_density``, if not given."""


class Attention(Layer):
    """Projections to queries, keys and values, attention, and the projection of its result."""

    type: Literal["attention"]
    """Attention on the current (N, L, C)."""
    heads: Number
    """Heads of the queries H."""
    kv_heads: Number | None = None
    """Heads of keys and values G, a divisor of H; H if not given."""
    head: Number | None = None
    """Features of a head D; C / H if not given."""
    keys: Number | None = None
    """Keys S that a query looks at, those of a cache included; L if not given."""
    causal: Flag = False
    """Whether the future is masked."""
    bias: Flag = True
    """Whether the projections have biases."""
    retention: Number = 1
    """Part of the keys that each row keeps; 1 keeps all."""
    rank: Number = 0
    """Rank of the detector that chooses them, known by its shape; 0: none."""
    precision: Number = 4
    """Bits of the detector's weights: 2, 4 or 8."""


class EmbeddingBags(Layer):
    """Pooled look-ups in tables: the current tensor becomes (N, tables · features)."""

    type: Literal["embedding_bags"]
    """Embedding bags."""
    tables: Number
    """How many tables, one operator each."""
    rows: Number
    """Rows of a table."""
    features: Number
    """Features of a row."""
    lookups: Number
    """Rows that are summed up for one sample."""
    skew: Number = 0
    """Exponent s of the popularity of rows, rank^−s (Zipf); 0: all alike."""


class Aggregate(Layer):
    """The features (nodes, F) of neighbours summed up: a product with the graph's adjacency, drawn."""

    type: Literal["aggregate"]
    """Aggregation over a graph."""
    edges: Number
    """Non-zeros of the adjacency matrix, loops included."""
    exponent: Number = 0
    """Exponent of the degrees' power law, above 2; 0: all equal."""
    graph: Number = 0
    """Which graph: layers that name the same one draw the same."""


class Group(Layer):
    """Layers under one name, written here or in ``blocks``."""

    type: Literal["group"]
    """Layers under one name."""
    layers: list[AnyLayer] | None = None
    """The layers, or"""
    block: str | None = None
    """the name of the block that holds them, and"""
    with_: dict[str, Number] = Field(default_factory=dict, alias="with")
    """the values of its arguments."""


class Branches(Layer):
    """Several ways from the current tensor, joined at their ends. A way without layers passes it on."""

    type: Literal["branches"]
    """Several ways from the current tensor."""
    branches: list[list[AnyLayer]] = Field(min_length=1)
    """The ways."""
    join: Literal["add", "multiply", "concat", "first"]
    """``add`` and ``multiply``: element by element (a (N, C, 1, 1) is stretched); ``concat``: along the channels of
    (N, C, H, W), else along the last axis; ``first``: what the first way gives, the others end here."""
    operator: StrictBool = False
    """Whether the join is an operator of the trace (``rowwise``, called NAME.add), for chips that run those."""
    density: Number | None = None
    """Part of the result that is not zero; ``activation_density`` of add, else what the ways give."""


AnyLayer = Annotated[
    Conv
    | Linear
    | MatMul
    | Pool
    | Reshape
    | Parameters
    | Rowwise
    | Attention
    | EmbeddingBags
    | Aggregate
    | Group
    | Branches,
    Field(discriminator="type"),
]
for _model in (Group, Branches):
    _model.model_rebuild()

LAYERS: dict[str, type[Layer]] = {
    "conv": Conv, "linear": Linear, "matmul": MatMul, "pool": Pool, "reshape": Reshape, "parameters": Parameters,
    "rowwise": Rowwise, "attention": Attention, "embedding_bags": EmbeddingBags, "aggregate": Aggregate,
    "group": Group, "branches": Branches,
}  # fmt: skip
"""The types of layers by name."""


class Parameter(Part):
    """A parameter that ``--set NAME=VALUE`` replaces."""

    value: Number
    """What it is where nobody sets it; an expression may use the parameters before it."""
    meaning: str
    """One sentence."""


class Input(Part):
    """The tensor that the first layer takes."""

    shape: list[Number] = Field(min_length=1)
    """Its shape."""
    density: Number = 1
    """Part of it that is not zero."""


class Published(Part):
    """A count that others published, to compare with. What is unknown is left out."""

    count: Literal["macs", "parameters"]
    """What is counted."""
    value: str = Field(pattern=r"^\d+(\.\d+)?(e\d+)?$")
    """The number as printed: ``4.089e9`` stands for one rounded to 10^6, whole numbers are exact."""
    source: str
    """Where it is printed."""
    set: dict[str, Number] = Field(default_factory=dict)
    """Parameters with which it was counted, where not those of the file."""
    without: list[str] = Field(default_factory=list)
    """Layers that it leaves out, by the beginning of their names."""


class Block(Part):
    """Layers that groups refer to."""

    arguments: list[Name] = Field(default_factory=list)
    """Names that stand for numbers in its expressions, beside the parameters."""
    layers: list[AnyLayer]
    """The layers."""


class Document(Part):
    """A workload file."""

    model_config = ConfigDict(title="Skipper workload")

    skipper: Literal[1]
    """Version of the format."""
    description: str
    """One sentence: what it is, and what it leaves out."""
    sources: list[str] = Field(min_length=1)
    """Where the shapes come from."""
    extends: str | None = None
    """Another workload, by name or by a path from this file: what is not said here is taken from there; parameters and
    blocks are taken one by one."""
    parameters: dict[Name, Parameter] = Field(default_factory=dict)
    """What can be set, by name."""
    input: Input
    """The tensor that the first layer takes."""
    blocks: dict[str, Block] = Field(default_factory=dict)
    """Layers used more than once, by name."""
    layers: list[AnyLayer] = Field(min_length=1)
    """The layers, in order."""
    published: list[Published] = Field(default_factory=list)
    """Counts to compare with."""


COMMON: dict[str, tuple[int | float, str]] = {
    "seed": (0, "What is drawn, is drawn from this."),
    "weight_density": (1, "Part of the weights that is not zero."),
    "activation_density": (1, "Part of the activations that is not zero, where a layer does not say otherwise."),
    "weight_bits": (8, "Bits of a weight that is not zero."),
    "activation_bits": (8, "Bits of an activation that is not zero."),
    "bases": (0, "M: kernels are decomposed to so many bases and other weights ternary, as ESCALATE runs them; 0: no."),
}
"""Parameters of every workload, which a file may give other values."""


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a workload file, for editors. A file that extends another needs less."""
    schema = Document.model_json_schema(by_alias=True)
    schema["required"] = ["skipper"]
    schema["properties"]["parameters"]["additionalProperties"] = False  # names of another pattern
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
