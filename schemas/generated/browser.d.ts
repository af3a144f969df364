// Made by `make contract` from schemas/browser.py. Types only: nothing of it runs.

export interface Adapter {
  vendor?: string;
  architecture?: string;
  device?: string;
  description?: string;
  is_fallback?: boolean | null;
  limits?: Record<string, number>;
}

export interface Beat {
  type: "beat";
  circumstances?: Circumstances;
}

export interface Bye {
  type: "bye";
}

export interface Capabilities {
  browser: string;
  version: string;
  engine: "blink" | "gecko" | "webkit" | "other";
  user_agent: string;
  platform?: string;
  mobile?: boolean;
  headless?: boolean;
  cores?: number | null;
  device_memory_gb?: number | null;
  secure_context: boolean;
  cross_origin_isolated: boolean;
  can_measure_memory: boolean;
  wasm: WasmFeatures;
  webgpu?: Adapter | null;
  webnn?: WebnnContext[];
}

export interface Circumstances {
  memory_mb?: number | null;
  lag_ms?: number | null;
  pressure?: "nominal" | "fair" | "serious" | "critical" | null;
  visible?: boolean;
}

export interface Failed {
  type: "failed";
  job: string;
  attempt: number;
  code: "unsupported" | "out_of_memory" | "fetch_failed" | "wrong_hash" | "run_failed" | "worker_died";
  message: string;
}

export interface Generation {
  prompt: string;
  tokens: number;
  context: number;
}

export interface Go {
  type: "go";
  job: string;
  attempt: number;
  lap: number;
  order: number[];
  samples: number;
}

export interface Hello {
  type: "hello";
  protocol: number;
  tab: string;
  page: string;
  label?: string | null;
  capabilities: Capabilities;
}

export interface Lap {
  type: "lap";
  job: string;
  attempt: number;
  lap: number;
  spans: Span[];
  outputs?: OutputSample[][];
  kept_mb?: number | null;
  circumstances?: Circumstances;
}

export interface ModelTask {
  name: string;
  format: "onnx" | "gguf";
  sha256: string;
  size_bytes: number;
  backend: "wasm" | "webgpu" | "webnn";
  webnn_device: "cpu" | "gpu" | "npu";
  threads: number;
  free_dimensions: Record<string, number>;
  inputs: TensorInput[];
  outputs: string[];
  keep: boolean;
  cache: boolean;
  generation: Generation | null;
}

export interface OutputSample {
  name: string;
  shape: number[];
  finite: boolean;
  values: number[];
}

export interface OutputSource {
  model: number;
  output: string;
}

export interface Prepare {
  type: "prepare";
  job: string;
  attempt: number;
  models: ModelTask[];
  samples: number;
  measure_memory: boolean;
}

export interface Prepared {
  type: "prepared";
  job: string;
  attempt: number;
  models: PreparedModel[];
  memory_before_mb?: number | null;
  circumstances?: Circumstances;
}

export interface PreparedModel {
  sha256: string;
  requested: "wasm" | "webgpu" | "webnn";
  actual: string;
  placement?: Record<string, number>;
  bundle: string;
  threads: number;
  reused?: boolean;
  fetch_ms: number;
  load_ms: number;
  first_run_ms: number;
  saved_ms?: number | null;
  outputs?: OutputSample[];
  text?: string | null;
  kept?: "cpu" | "gpu-buffer" | "ml-tensor" | null;
}

export interface Recycle {
  type: "recycle";
  reason: string;
}

export interface Refused {
  type: "refused";
  code: string;
  message: string;
}

export interface Release {
  type: "release";
  job: string;
  attempt: number;
}

export interface Span {
  model: number;
  start_ms: number;
  end_ms: number;
  cached?: boolean;
  saved_ms?: number | null;
  tokens?: number | null;
  first_token_ms?: number | null;
}

export interface TensorInput {
  name: string;
  dtype: "float32" | "int64" | "int32" | "uint8" | "bool";
  shape: number[];
  sha256: string | null;
  source: OutputSource | null;
}

export interface WasmFeatures {
  simd: boolean;
  threads: boolean;
}

export interface WebnnContext {
  device_type: "cpu" | "gpu" | "npu";
  operators?: number | null;
}

export interface Welcome {
  type: "welcome";
  tab: string;
  beat_seconds: number;
}

export type FromTab = Hello | Prepared | Lap | Failed | Beat | Bye;

export type FromBridge = Welcome | Prepare | Go | Release | Recycle | Refused;

export type Backend = ModelTask["backend"];
