"""The bridge to pools of real browsers over websockets (WebGPU, WebNN, WASM)."""
