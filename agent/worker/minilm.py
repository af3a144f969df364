"""The graph of MiniLM-L6 (a BERT of six layers), made from its published weights.

Source: Devlin et al., BERT (2019), and Wang et al., MiniLM (2020); hyperparameters are those of
the package's `config.json`. Two heads stand on one encoder: the mean over the tokens, normalised
(Reimers and Gurevych, Sentence-BERT, 2019), and BERT's own pooler over the first token. Each is
written as a whole model (encoder and head in one file) and as parts, so that one run of the
encoder can feed both heads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Weights = Mapping[str, npt.NDArray[Any]]

LAYERS: Final = 6
HEADS: Final = 12
HIDDEN: Final = 384
VOCABULARY: Final = 30_522
_EPSILON: Final = 1e-12
_MASKED: Final = -1e4
_OPSET: Final = 17
_IR_VERSION: Final = 8


@dataclass
class _Graph:
    """Nodes and initialisers in the making. Every method returns its output's name."""

    weights: Weights
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    held: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, name: str, *, transposed: bool = False) -> str:
        key = f"{name}.T" if transposed else name
        if key not in self.held:
            array = self.weights[name]
            array = np.ascontiguousarray(array.T if transposed else array)
            self.held[key] = numpy_helper.from_array(array, key)
        return key

    def constant(self, name: str, values: Any, dtype: str) -> str:
        if name not in self.held:
            self.held[name] = numpy_helper.from_array(np.array(values, dtype), name)
        return name

    def dense(self, x: str, layer: str) -> str:
        product = self.op("MatMul", x, self.weight(f"{layer}.weight", transposed=True))
        return self.op("Add", product, self.weight(f"{layer}.bias"))

    def norm(self, x: str, layer: str, name: str = "") -> str:
        return self.op(
            "LayerNormalization",
            x,
            self.weight(f"{layer}.weight"),
            self.weight(f"{layer}.bias"),
            name=name,
            axis=-1,
            epsilon=_EPSILON,
        )

    def encoder(self) -> None:
        """From `input_ids` and `attention_mask` to `hidden`."""
        words = self.op(
            "Gather", self.weight("embeddings.word_embeddings.weight"), "input_ids", axis=0
        )
        length = self.op("Shape", "input_ids", start=1, end=2)
        places = self.op(
            "Slice",
            self.weight("embeddings.position_embeddings.weight"),
            self.constant("zero", [0], "int64"),
            length,
            self.constant("zero", [0], "int64"),
        )
        kind = self.op(
            "Gather",
            self.weight("embeddings.token_type_embeddings.weight"),
            self.constant("first_kind", 0, "int64"),
            axis=0,
        )
        x = self.op("Add", self.op("Add", words, places), kind)
        x = self.norm(x, "embeddings.LayerNorm")
        mask = self.op("Cast", "attention_mask", to=TensorProto.FLOAT)
        absent = self.op("Sub", self.constant("one", 1, "float32"), mask)
        bias = self.op("Mul", absent, self.constant("masked", _MASKED, "float32"))
        bias = self.op("Unsqueeze", bias, self.constant("middle_axes", [1, 2], "int64"))
        for number in range(LAYERS):
            x = self._layer(x, bias, f"encoder.layer.{number}", last=number == LAYERS - 1)

    def _layer(self, x: str, bias: str, layer: str, *, last: bool) -> str:
        split = self.constant("split", [0, 0, HEADS, HIDDEN // HEADS], "int64")

        def per_head(part: str) -> str:
            found = self.dense(x, f"{layer}.attention.self.{part}")
            return self.op("Transpose", self.op("Reshape", found, split), perm=[0, 2, 1, 3])

        query, key, value = per_head("query"), per_head("key"), per_head("value")
        scores = self.op("MatMul", query, self.op("Transpose", key, perm=[0, 1, 3, 2]))
        scale = self.constant("scale", 1 / math.sqrt(HIDDEN / HEADS), "float32")
        scores = self.op("Add", self.op("Mul", scores, scale), bias)
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), value)
        mixed = self.op("Transpose", mixed, perm=[0, 2, 1, 3])
        mixed = self.op("Reshape", mixed, self.constant("join", [0, 0, HIDDEN], "int64"))
        mixed = self.dense(mixed, f"{layer}.attention.output.dense")
        x = self.norm(self.op("Add", mixed, x), f"{layer}.attention.output.LayerNorm")
        wide = self.dense(x, f"{layer}.intermediate.dense")
        # GELU, exact: x * (1 + erf(x / sqrt 2)) / 2.
        root = self.constant("root_two", math.sqrt(2), "float32")
        erf = self.op("Erf", self.op("Div", wide, root))
        gate = self.op("Add", erf, self.constant("one", 1, "float32"))
        wide = self.op("Mul", self.op("Mul", wide, gate), self.constant("half", 0.5, "float32"))
        narrow = self.dense(wide, f"{layer}.output.dense")
        end = self.op("Add", narrow, x)
        return self.norm(end, f"{layer}.output.LayerNorm", name="hidden" if last else "")

    def mean_head(self) -> None:
        """From `hidden` and `attention_mask` to `embedding`: the normalised mean."""
        mask = self.op("Cast", "attention_mask", to=TensorProto.FLOAT)
        mask = self.op("Unsqueeze", mask, self.constant("last_axis", [2], "int64"))
        tokens = self.constant("token_axis", [1], "int64")
        total = self.op("ReduceSum", self.op("Mul", "hidden", mask), tokens, keepdims=0)
        count = self.op("ReduceSum", mask, tokens, keepdims=0)
        mean = self.op("Div", total, count)
        length = self.op("ReduceL2", mean, axes=[1], keepdims=1)
        self.op("Div", mean, length, name="embedding")

    def pooler_head(self) -> None:
        """From `hidden` to `pooled`: BERT's pooler over the first token."""
        first = self.op("Gather", "hidden", self.constant("first", 0, "int64"), axis=1)
        self.op("Tanh", self.dense(first, "pooler.dense"), name="pooled")


_INPUTS: Final[dict[str, tuple[int, list[str | int]]]] = {
    "input_ids": (TensorProto.INT64, ["batch", "sequence"]),
    "attention_mask": (TensorProto.INT64, ["batch", "sequence"]),
    "hidden": (TensorProto.FLOAT, ["batch", "sequence", HIDDEN]),
}
_OUTPUTS: Final[dict[str, list[str | int]]] = {
    "hidden": ["batch", "sequence", HIDDEN],
    "embedding": ["batch", HIDDEN],
    "pooled": ["batch", HIDDEN],
}

GRAPHS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...], str]]] = {
    "minilm-encoder": (("encoder",), ("input_ids", "attention_mask"), "hidden"),
    "minilm-mean-head": (("mean_head",), ("hidden", "attention_mask"), "embedding"),
    "minilm-pooler-head": (("pooler_head",), ("hidden",), "pooled"),
    "minilm-mean": (("encoder", "mean_head"), ("input_ids", "attention_mask"), "embedding"),
    "minilm-pooler": (("encoder", "pooler_head"), ("input_ids", "attention_mask"), "pooled"),
}
"""By model: what it consists of, its inputs, its output."""


def graph(name: str, weights: Weights) -> onnx.ModelProto:
    """Return one of `GRAPHS` as an ONNX model. The same weights give the same bytes."""
    parts, inputs, output = GRAPHS[name]
    made = _Graph(weights)
    for part in parts:
        getattr(made, part)()
    body = helper.make_graph(
        made.nodes,
        name,
        [helper.make_tensor_value_info(one, *_INPUTS[one]) for one in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, _OUTPUTS[output])],
        list(made.held.values()),
    )
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="placewise"
    )
    model.ir_version = _IR_VERSION
    onnx.checker.check_model(model)
    return model
