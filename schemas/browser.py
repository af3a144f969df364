"""What a browser tab and the bridge say to each other over the websocket. Protocol version 1.

Each message is one JSON object in one text frame. `type` tells the kinds apart. A tab speaks
first, with `Hello`; the bridge answers `Welcome` or closes. Then the bridge hands out jobs:

    bridge  Prepare          load these models, run each once, show me the outputs
    tab     Prepared         what was loaded where, how long that took, samples of the outputs
    bridge  Go (lap 0)       run these models in this order
    tab     Lap (lap 0)      when each run began and ended
    bridge  Go (lap 1) …     as often as the job wants
    bridge  Release          the job is over; sessions may stay for the next one

Instead of `Prepared` or `Lap` a tab may say `Failed`. Each carries job and attempt, so that
words about a job that was taken away are known as such.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    Discriminator,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from schemas.base import Count, Label, Message, Name, Quantity
from schemas.errors import BadInput, ErrorDetail, MalformedPayload, shown

_T = TypeVar("_T")

PROTOCOL_VERSION = 1
SUBPROTOCOL = "placewise.tab.v1"
TOKEN_SUBPROTOCOL_PREFIX = "placewise.token."  # noqa: S105 - what the token stands behind

MAX_MODELS = 16
MAX_SPANS = 2_000
MAX_SAMPLES = 4_096

Backend = Literal["wasm", "webgpu", "webnn"]
WebnnDevice = Literal["cpu", "gpu", "npu"]
TensorType = Literal["float32", "int64", "int32", "uint8", "bool"]
Place = Literal["cpu", "gpu-buffer", "ml-tensor"]

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
JobId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,80}$")]
TabId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{8,64}$")]
Milliseconds = Annotated[float, Field(ge=0, le=1e9)]
Instant = Annotated[float, Field(ge=0, le=1e14, description="Milliseconds since 1970, by the tab")]
Megabytes = Annotated[float, Field(ge=0, le=1e9)]
Index = Annotated[int, Field(ge=0, lt=MAX_MODELS)]
Dimension = Annotated[int, Field(ge=0, le=1_000_000_000)]
Text = Annotated[str, StringConstraints(max_length=4_096)]


class Adapter(Message):
    """A WebGPU adapter, as the browser names it."""

    vendor: Label = ""
    architecture: Label = ""
    device: Label = ""
    description: Label = ""
    is_fallback: bool | None = Field(None, description="None where the browser doesn't say")
    limits: dict[Name, Quantity] = Field({}, max_length=16)


class WebnnContext(Message):
    """A kind of WebNN context that the browser gives.

    That a context was given says nothing of the device that will be used.
    """

    device_type: WebnnDevice
    operators: int | None = Field(None, ge=0, le=10_000, description="Operators it names")


class WasmFeatures(Message):
    """What WebAssembly can do there."""

    simd: bool
    threads: bool = Field(description="Shared memory works: needs cross-origin isolation")


class Capabilities(Message):
    """What a browser really offers, as found by trying it."""

    browser: Name = Field(description="chromium, chrome, edge, firefox, safari, …")
    version: Name
    engine: Literal["blink", "gecko", "webkit", "other"]
    user_agent: Label
    platform: Label = ""
    mobile: bool = False
    headless: bool = False
    cores: Count | None = None
    device_memory_gb: Quantity | None = Field(None, description="Rounded and capped by browsers")
    secure_context: bool
    cross_origin_isolated: bool
    can_measure_memory: bool = Field(description="`measureUserAgentSpecificMemory` is there")
    wasm: WasmFeatures
    webgpu: Adapter | None = Field(None, description="None: no adapter was given")
    webnn: list[WebnnContext] = Field([], max_length=3)

    def backends(self) -> list[Backend]:
        """Return what models can be run on."""
        found: list[Backend] = ["wasm"] if self.wasm.simd else []
        if self.webgpu is not None:
            found.append("webgpu")
        if self.webnn:
            found.append("webnn")
        return found


class OutputSource(Message):
    """An input that is another model's output, kept where it is."""

    model: Index
    output: Name


class TensorInput(Message):
    """One input of a model: a file of raw little-endian values, or another model's output."""

    name: Name
    dtype: TensorType = "float32"
    shape: list[Dimension] = Field(max_length=8)
    sha256: Sha256 | None = Field(None, description="Of the file that holds the values")
    source: OutputSource | None = None

    @model_validator(mode="after")
    def _from_one_place(self) -> Self:
        if (self.sha256 is None) == (self.source is None):
            raise ValueError("either sha256 or source")
        return self


class Generation(Message):
    """What a text-generation model is to write: greedy, so that the text can be compared."""

    prompt: Annotated[str, StringConstraints(min_length=1, max_length=8_192)]
    tokens: Annotated[int, Field(ge=1, le=1_024)]
    context: Annotated[int, Field(ge=16, le=32_768)] = 1_024


class ModelTask(Message):
    """One model to hold ready in a tab, and what to feed it."""

    name: Name
    format: Literal["onnx", "gguf"] = "onnx"
    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=1, le=1 << 33)]
    backend: Backend = "wasm"
    webnn_device: WebnnDevice = "cpu"
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    free_dimensions: dict[Name, Dimension] = Field({}, max_length=16)
    inputs: list[TensorInput] = Field([], max_length=32)
    outputs: list[Name] = Field([], max_length=32, description="All if empty")
    keep: bool = Field(False, description="Keep its outputs on the device, for other models")
    cache: bool = Field(False, description="Reuse outputs for inputs that were seen before")
    generation: Generation | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.format == "gguf") != (self.generation is not None):
            raise ValueError("generation, for a gguf model and for no other")
        return self


class Welcome(Message):
    """The tab is taken in, under this name."""

    type: Literal["welcome"] = "welcome"
    tab: TabId
    beat_seconds: Quantity = Field(description="How often to say that the page is alive")


class Prepare(Message):
    """Load these models, run each once, and show samples of the outputs.

    The samples are the values at evenly spread positions of each flattened output: position
    i of n is `floor(i * size / n)`, n the smaller of size and `samples`.
    """

    type: Literal["prepare"] = "prepare"
    job: JobId
    attempt: Count
    models: list[ModelTask] = Field(min_length=1, max_length=MAX_MODELS)
    samples: Annotated[int, Field(ge=0, le=MAX_SAMPLES)] = 1_024
    measure_memory: bool = Field(
        False, description="Before and after: slow, and only possible while no thread waits"
    )


class Go(Message):
    """Run models in this order, each to its end before the next begins."""

    type: Literal["go"] = "go"
    job: JobId
    attempt: Count
    lap: Annotated[int, Field(ge=0, le=1_000_000)]
    order: list[Index] = Field(min_length=1, max_length=MAX_SPANS)
    samples: Annotated[int, Field(ge=0, le=MAX_SAMPLES)] = Field(
        0, description="Show samples of each model's last outputs as well"
    )


class Release(Message):
    """The job is over, or was taken away: stop as soon as possible."""

    type: Literal["release"] = "release"
    job: JobId
    attempt: Count


class Recycle(Message):
    """Load the page anew, so that all memory is given back, and connect again."""

    type: Literal["recycle"] = "recycle"
    reason: Label


class Refused(Message):
    """What was wrong; the bridge closes the connection after it."""

    type: Literal["refused"] = "refused"
    code: Name
    message: Label


FromBridge = Welcome | Prepare | Go | Release | Recycle | Refused


class Hello(Message):
    """The first word of a tab. `tab` outlives a reload of the page, `page` does not."""

    type: Literal["hello"]
    protocol: int
    tab: TabId
    page: TabId
    label: Name | None = Field(None, description="What a person calls this machine")
    capabilities: Capabilities


class OutputSample(Message):
    """One output of the first run: its shape, and values at evenly spread positions."""

    name: Name
    shape: list[Dimension] = Field(max_length=8)
    finite: bool = Field(description="Whether every value of it is a finite number")
    values: list[float] = Field(max_length=MAX_SAMPLES)


class PreparedModel(Message):
    """How one model was loaded, and what its first run gave."""

    sha256: Sha256 = Field(description="Of the bytes that were loaded, as computed in the tab")
    requested: Backend
    actual: Name = Field(description="Where most nodes were placed: wasm, webgpu, webnn, mixed, …")
    placement: dict[Name, Annotated[int, Field(ge=0, le=1_000_000)]] = Field(
        {}, max_length=8, description="Graph nodes by execution provider; empty if unknown"
    )
    bundle: Name = Field(description="Which build ran it, e.g. `onnxruntime-web-1.30.0/ort.wasm`")
    threads: Annotated[int, Field(ge=1, le=1_024)]
    reused: bool = Field(False, description="Was still loaded from an earlier job")
    fetch_ms: Milliseconds = Field(description="Getting the file, from network or cache")
    load_ms: Milliseconds = Field(description="Making the session, with compilation")
    first_run_ms: Milliseconds = Field(description="The first run in this session")
    saved_ms: Milliseconds | None = Field(
        None, description="What the run took that made the output, if it was known: nothing ran"
    )
    outputs: list[OutputSample] = Field([], max_length=32)
    text: Text | None = Field(None, description="What a text-generation model wrote")
    kept: Place | None = Field(None, description="Where kept outputs are")


class Circumstances(Message):
    """How the tab was at the time."""

    memory_mb: Megabytes | None = Field(None, description="Of the page and its workers")
    lag_ms: Milliseconds | None = Field(None, description="How late the page's timers ran")
    pressure: Literal["nominal", "fair", "serious", "critical"] | None = Field(
        None, description="Of the processor, where the browser tells"
    )
    visible: bool = True


class Prepared(Message):
    """Every model of the job is loaded and ran once."""

    type: Literal["prepared"]
    job: JobId
    attempt: Count
    models: list[PreparedModel] = Field(min_length=1, max_length=MAX_MODELS)
    memory_before_mb: Megabytes | None = None
    circumstances: Circumstances = Circumstances()


class Span(Message):
    """One run of one model."""

    model: Index
    start_ms: Instant
    end_ms: Instant
    cached: bool = Field(False, description="The output was known for this input: nothing ran")
    saved_ms: Milliseconds | None = Field(
        None, description="What the run took that made the known output"
    )
    tokens: Annotated[int, Field(ge=0, le=100_000)] | None = Field(None, description="Written")
    first_token_ms: Milliseconds | None = None


class Lap(Message):
    """What came of one `Go`."""

    type: Literal["lap"]
    job: JobId
    attempt: Count
    lap: Annotated[int, Field(ge=0, le=1_000_000)]
    spans: list[Span] = Field(min_length=1, max_length=MAX_SPANS)
    outputs: list[list[OutputSample]] = Field(
        [], max_length=MAX_MODELS, description="By model, where samples were asked for"
    )
    kept_mb: Megabytes | None = Field(
        None, description="Outputs that the tab keeps for inputs to come; None if there are none"
    )
    circumstances: Circumstances = Circumstances()


FailureCode = Literal[
    "unsupported", "out_of_memory", "fetch_failed", "wrong_hash", "run_failed", "worker_died"
]


class Failed(Message):
    """The job can't be done here."""

    type: Literal["failed"]
    job: JobId
    attempt: Count
    code: FailureCode
    message: Label


class Beat(Message):
    """The page is alive."""

    type: Literal["beat"]
    circumstances: Circumstances = Circumstances()


class Bye(Message):
    """The page is being closed, by whoever looks at it."""

    type: Literal["bye"]


FromTab = Hello | Prepared | Lap | Failed | Beat | Bye

_FROM_TAB: TypeAdapter[FromTab] = TypeAdapter(Annotated[FromTab, Discriminator("type")])
_FROM_BRIDGE: TypeAdapter[FromBridge] = TypeAdapter(Annotated[FromBridge, Discriminator("type")])


def decode_from_tab(payload: str | bytes) -> FromTab:
    """Decode one message of a tab.

    Raises:
        MalformedPayload: not a JSON object.
        BadInput: any field at fault, each named in the details.
    """
    return _decoded(_FROM_TAB, payload)


def decode_from_bridge(payload: str | bytes) -> FromBridge:
    """Decode one message of the bridge, as a tab does; for tabs in Python.

    Raises:
        MalformedPayload: not a JSON object.
        BadInput: any field at fault, each named in the details.
    """
    return _decoded(_FROM_BRIDGE, payload)


def _decoded(adapter: TypeAdapter[_T], payload: str | bytes) -> _T:
    try:
        return adapter.validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid" or not first["loc"]:
            raise MalformedPayload(
                "the message is not an object of a known type",
                [ErrorDetail(field="type", problem=shown(payload), expected="a known message")],
            ) from None
        raise BadInput.from_validation(error, "browser message") from None
