"""The browser messages as TypeScript types, so that the page's source is checked against them."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from schemas.browser import FromBridge, FromTab

_HEAD = "// Made by `make contract` from schemas/browser.py. Types only: nothing of it runs.\n"
_PRIMITIVES = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}


def declarations() -> str:
    """Return one interface per message and part, and the two unions of messages."""
    parts: dict[str, str] = {}
    sides: tuple[tuple[Any, JsonSchemaMode], ...] = (
        (FromTab, "validation"),
        (FromBridge, "serialization"),
    )
    for union, mode in sides:
        kinds: list[tuple[type[BaseModel], JsonSchemaMode]] = [
            (kind, mode) for kind in get_args(union)
        ]
        _, described = models_json_schema(kinds)
        for name, schema in described["$defs"].items():
            parts.setdefault(name, _interface(name, schema, mode))
    unions = [
        f"export type {name} = {' | '.join(kind.__name__ for kind in get_args(union))};\n"
        for name, union in (("FromTab", FromTab), ("FromBridge", FromBridge))
    ]
    named = [
        'export type Backend = ModelTask["backend"];\n',
    ]
    return "\n".join([_HEAD, *(parts[name] for name in sorted(parts)), *unions, *named])


def _interface(name: str, schema: dict[str, Any], mode: JsonSchemaMode) -> str:
    # What the bridge writes has every field; what it reads may leave out what has a default.
    written = schema["properties"] if mode == "serialization" else schema.get("required", ())
    required = set(written)
    lines = [
        f"  {field}{'' if field in required else '?'}: {_type(of)};"
        for field, of in schema.get("properties", {}).items()
    ]
    return "\n".join([f"export interface {name} {{", *lines, "}\n"])


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(one) for one in schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " | ".join(f'"{value}"' for value in values)
    kind = schema["type"]
    if kind == "array":
        inner = _type(schema["items"])
        return f"({inner})[]" if " " in inner else f"{inner}[]"
    if kind == "object":
        patterns = list(schema.get("patternProperties", {}).values())
        return f"Record<string, {_type(schema.get('additionalProperties') or patterns[0])}>"
    return _PRIMITIVES[kind]
