"""What is in the folder of models, and the recipe that feeds them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from pydantic import ValidationError

from agent.worker import making
from agent.worker.counting import multiply_accumulates, parameters
from agent.worker.feeding import CHECK_BATCH, made_input, made_inputs, sampled, wrong_output
from schemas.errors import Unavailable
from schemas.models import InputSpec, ModelManifest, OutputCheck
from tests.support.models import FOLDER, manifest, needs_models


def session(model: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(FOLDER / f"{model}.onnx", options)


def run(model: str, inputs: dict[str, Any]) -> dict[str, Any]:
    found = session(model)
    names = [one.name for one in found.get_outputs()]
    return dict(zip(names, found.run(names, inputs), strict=True))


def test_the_recipe() -> None:
    spec = InputSpec(name="x", dtype="float32", shape=["batch", 3], low=-1, high=1)
    values = made_input(spec, 2, {})
    assert values.shape == (2, 3)
    wanted = [-1 + 2 * ((i * 2654435761) % 2**32) / 2**32 for i in range(6)]
    assert values.reshape(-1).tolist() == pytest.approx(wanted, rel=1e-6)
    whole = made_input(
        InputSpec(name="n", dtype="int64", shape=["n"], low=5, high=9), 1, {"n": 500}
    )
    assert set(whole.tolist()) == {5, 6, 7, 8}


def test_a_constant_and_a_scalar() -> None:
    spec = InputSpec(name="sr", dtype="int64", shape=[], low=16_000, high=16_000)
    assert made_input(spec, 7, {}).tolist() == 16_000


def test_wrong_outputs_are_told_in_words() -> None:
    good = np.arange(100, dtype=np.float32).reshape(1, 100)
    check = OutputCheck(name="y", shape=[1, 100], values=sampled(good), tolerance=1e-3)
    assert wrong_output([check], {"y": good}) is None
    assert wrong_output([check], {}) == "no output y"
    assert "shape" in str(wrong_output([check], {"y": good.reshape(100)}))
    assert "off by" in str(wrong_output([check], {"y": good + 1}))
    broken = good.copy()
    broken[0, 99] = np.nan
    assert "not finite" in str(wrong_output([check], {"y": broken}))


def test_what_is_counted() -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 5], [0.0] * 20)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert parameters(model) == 20
    assert multiply_accumulates(model, {"x": np.zeros((3, 4), np.float32)}) == 3 * 4 * 5
    assert multiply_accumulates(onnx.ModelProto(), {}) is None


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda models: [*models, models[0]], "each model once"),
        (lambda models: [{**models[0], "sizes": {}}], "a default size"),
        (
            lambda models: [{**models[0], "parts": {"encoder": "e", "head": "h"}}],
            "the parts of m",
        ),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(change: Any, what: str) -> None:
    model = {
        "id": "m",
        "family": "vision",
        "file": "m.onnx",
        "sha256": "0" * 64,
        "size_bytes": 1,
        "licence": "MIT",
        "origin": {"package": "p", "version": "1", "path": "m.onnx"},
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", "n"]}],
        "sizes": {"n": 3},
        "outputs": [{"name": "y", "shape": [2], "values": [0.0], "tolerance": 0.1}],
        "parameters_m": 1.0,
    }
    ModelManifest.model_validate({"reference": "r", "models": [model]})
    with pytest.raises(ValidationError, match=what):
        ModelManifest.model_validate({"reference": "r", "models": change([model])})


@needs_models
def test_the_folder_holds_what_the_manifest_says() -> None:
    found = manifest()
    assert {one.family for one in found.models} >= {"text_embedding", "vision", "audio"}
    for one in found.models:
        data = (FOLDER / one.file).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (one.size_bytes, one.sha256)


@needs_models
@pytest.mark.parametrize("model", ["silero-vad", "magika", "ocr-direction", "minilm-mean"])
def test_outputs_agree_with_the_reference(model: str) -> None:
    described = manifest().find(model)
    assert described is not None
    outputs = run(model, made_inputs(described, CHECK_BATCH, {}))
    assert wrong_output(described.outputs, outputs) is None


@needs_models
@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize(
    ("model", "also_fed", "output"),
    [("minilm-mean", ["attention_mask"], "embedding"), ("minilm-pooler", [], "pooled")],
)
def test_an_encoder_and_a_head_are_the_whole_model_bit_for_bit(
    model: str, also_fed: list[str], output: str, batch_size: int
) -> None:
    described = manifest().find(model)
    assert described is not None
    inputs = made_inputs(described, batch_size, {})
    fed = {name: inputs[name] for name in also_fed}
    by_parts = run(f"{model}-head", run("minilm-encoder", inputs) | fed)
    assert np.array_equal(by_parts[output], run(model, inputs)[output])


@needs_models
def test_what_is_masked_makes_no_difference() -> None:
    words = np.array([[101, 7592, 2088, 102, 0, 0, 0]])
    mask = (words > 0).astype(np.int64)
    padded = run("minilm-mean", {"input_ids": words, "attention_mask": mask})["embedding"]
    short = run("minilm-mean", {"input_ids": words[:, :4], "attention_mask": mask[:, :4]})
    assert np.allclose(padded, short["embedding"], atol=1e-5)


@needs_models
def test_sentences_of_one_meaning_are_near() -> None:
    # "a dog is running", "the puppy runs", "stocks fell sharply": ids of whole words in BERT's
    # vocabulary.
    sentences = [[1037, 3899, 2003, 2770], [1996, 17022, 3216], [15768, 3062, 9249]]
    found = []
    for words in sentences:
        ids = np.array([[101, *words, 102]])
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        found.append(run("minilm-mean", inputs)["embedding"][0])
    dog, puppy, stocks = found
    assert dog @ puppy > 0.5
    assert dog @ stocks < 0.3


def test_packages_that_cannot_be_had_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert making.main([str(tmp_path / "models")]) == 3
    assert "rapidocr-onnxruntime==1.4.4 can't be had" in capsys.readouterr().err
    with pytest.raises(Unavailable, match="make models"):
        making.load_manifest(tmp_path / "models")
