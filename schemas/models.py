"""The manifest of a folder of models: what each file is, how to feed it, what it must give.

Whoever runs a model reads it: the native worker, the page in a browser tab, tests. Inputs are
made from a recipe that needs no file and no library: value number i of a tensor lies in
`[low, high)` by the share `(i * 2654435761 mod 2**32) / 2**32` (Knuth's multiplicative hash,
The Art of Computer Programming, vol. 3, 6.4), whole numbers rounded down. A run is right when
values of its outputs at evenly spread positions agree with those of the reference runtime.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from schemas.base import Message, Name, Quantity

MANIFEST_NAME = "manifest.json"
SAMPLES = 64
"""Output values that a check compares."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ModelId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]
TensorType = Literal["float32", "int64", "int32"]
Family = Literal[
    "text_embedding",
    "vision",
    "vision_embedding",
    "audio",
    "audio_embedding",
    "vision_text_joint",
    "audio_text_joint",
    "file_type",
]
Symbol = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,31}$")]
Size = Annotated[int, Field(ge=1, le=1_000_000)]


class InputSpec(Message):
    """One input: its type and shape, and the range that its values are made in."""

    name: Name
    dtype: TensorType
    shape: list[Size | Symbol] = Field(
        max_length=8, description="`batch` and the symbols of the model's `sizes`"
    )
    low: float = 0.0
    high: float = Field(1.0, description="A constant if it equals `low`")

    def dimensions(self, batch: int, sizes: dict[str, int]) -> list[int]:
        """Return the shape in numbers."""
        known = {**sizes, "batch": batch}
        return [known[one] if isinstance(one, str) else one for one in self.shape]


class OutputCheck(Message):
    """What an output must be for the made inputs at batch 2 and the default sizes.

    `values` are those at positions `floor(i * size / n)` of the flattened output, n the smaller
    of its size and `SAMPLES`. They agree if none differs by more than `tolerance` times the
    largest magnitude among them.
    """

    name: Name
    shape: list[int]
    values: list[float] = Field(max_length=SAMPLES)
    tolerance: float = Field(gt=0, le=1)


class Origin(Message):
    """Where a file came from."""

    package: Name
    version: Name
    path: Name = Field(description="Inside the package")
    made: bool = Field(False, description="The graph was built from the package's weights")


class Parts(Message):
    """A model cut in two: an encoder that others may share, and a head that takes its output."""

    encoder: ModelId
    head: ModelId


class ModelFile(Message):
    """One model of the folder.

    A part of other models (an encoder, a head) is listed like any other, with `part` set.
    """

    id: ModelId
    family: Family
    file: Name
    sha256: Sha256 = Field(description="Of the file: its identity")
    size_bytes: Annotated[int, Field(ge=1, le=1 << 33)]
    licence: Name = Field(description="SPDX identifier")
    origin: Origin
    inputs: list[InputSpec] = Field(min_length=1, max_length=32)
    sizes: dict[Symbol, Size] = Field({}, description="Default of each symbol but `batch`")
    outputs: list[OutputCheck] = Field(min_length=1, max_length=32)
    parameters_m: Quantity
    gmacs: Quantity | None = Field(None, description="Per item, at the default sizes")
    parts: Parts | None = None
    part: bool = False
    free_dimensions: dict[Name, Size | Symbol] = Field(
        {}, description="The graph's own names of what is left open, for runtimes that fix it"
    )

    @property
    def shares(self) -> str | None:
        """The key of what it may share with others: its encoder."""
        return None if self.parts is None else self.parts.encoder

    @model_validator(mode="after")
    def _symbols_have_sizes(self) -> ModelFile:
        used = {one for tensor in self.inputs for one in tensor.shape if isinstance(one, str)}
        missing = sorted(used - self.sizes.keys() - {"batch"})
        if missing:
            raise ValueError(f"a default size for each symbol; none for {', '.join(missing)}")
        return self


class TextModel(Message):
    """A model that writes text, in llama.cpp's format (GGUF), and what it must write.

    `text` is what llama.cpp wrote natively for `prompt`, greedily. Runtimes round differently, and
    one other token leads to another text: a run agrees if it begins with the first `agrees`
    characters of it.
    """

    id: ModelId
    family: Literal["text_generation"] = "text_generation"
    file: Name
    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=1, le=1 << 33)]
    licence: Name = Field(description="SPDX identifier")
    origin: Origin
    parameters_m: Quantity
    precision: Name = Field(description="How its weights are kept, e.g. `q4_1`")
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=8_192)]
    tokens: Annotated[int, Field(ge=1, le=1_024)]
    context: Annotated[int, Field(ge=16, le=32_768)] = 512
    text: Annotated[str, StringConstraints(min_length=1, max_length=4_096)]
    agrees: Annotated[int, Field(ge=1, le=4_096)]
    reference: Name = Field(description="The runtime that wrote the text")


class ModelManifest(Message):
    """`manifest.json` of a folder of models."""

    version: Literal[1] = 1
    reference: Name = Field(description="The runtime that the outputs are from")
    models: list[ModelFile]
    text_models: list[TextModel] = Field(
        [], description="Run in browsers, not by the native worker"
    )

    def find(self, model: str) -> ModelFile | None:
        """Return the model of that name, if it is there."""
        return next((one for one in self.models if one.id == model), None)

    @model_validator(mode="after")
    def _parts_are_there(self) -> ModelManifest:
        ids = [one.id for one in self.models] + [one.id for one in self.text_models]
        if len(set(ids)) < len(ids):
            raise ValueError("each model once")
        for one in self.models:
            if one.parts and not {one.parts.encoder, one.parts.head} <= set(ids):
                raise ValueError(f"the parts of {one.id} among the models")
        return self
