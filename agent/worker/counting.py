"""How large a model is, and how much it computes: counted from its graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime

from agent.worker.feeding import Array

_COUNTED = {"Conv", "MatMul", "Gemm"}


def parameters(model: onnx.ModelProto) -> int:
    """Return how many numbers a model holds, wherever in its graph they stand."""
    held = sum(int(np.prod(one.dims)) for one in model.graph.initializer)
    constants = [node for node in model.graph.node if node.op_type == "Constant"]
    for node in constants:
        held += sum(int(np.prod(one.t.dims)) for one in node.attribute if one.HasField("t"))
    return max(1, held)


def multiply_accumulates(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> float | None:
    """Return the multiply-accumulates of one run, from convolutions and matrix products.

    The shapes are those that a run really has: graphs often don't say them. None if there is
    nothing to count (an inner graph of a branch is not looked into).
    """
    counted = [node for node in model.graph.node if node.op_type in _COUNTED]
    if not counted:
        return None
    held = {one.name: list(one.dims) for one in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            held[node.output[0]] = list(node.attribute[0].t.dims)
    wanted = {node.output[0] for node in counted} | {
        node.input[1] for node in counted if node.input[1] not in held
    }
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    there = {one.name for one in model.graph.output}
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(wanted - there))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = sorted(wanted)
    values = session.run(names, dict(inputs))
    shapes = held | {name: list(value.shape) for name, value in zip(names, values, strict=True)}
    return sum(_macs(node, shapes) for node in counted)


def _macs(node: onnx.NodeProto, shapes: Mapping[str, list[int]]) -> float:
    """Return what one node computes: its outputs, times what each of them adds up."""
    out, other = shapes[node.output[0]], shapes[node.input[1]]
    if node.op_type == "Conv":
        each = int(np.prod(other[1:]))
    elif node.op_type == "Gemm":
        turned = any(one.name == "transB" and one.i for one in node.attribute)
        each = other[1] if turned else other[0]
    else:
        each = other[-2] if len(other) > 1 else other[0]
    return float(np.prod(out)) * float(each)
