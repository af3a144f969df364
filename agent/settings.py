"""What can be set, and where a setting may come from.

In falling precedence: what the caller says outright (the command line), the environment
(`PLACEWISE_…`), a systemd credential (the broker's password alone), a TOML file, the default.
Nothing is read before `load_settings` is called.
"""

from __future__ import annotations

import os
import re
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from agent.budget import parse_budget
from schemas.errors import BadInput, ErrorDetail, shown

ENV_PREFIX = "PLACEWISE_"
PASSWORD_CREDENTIAL = "placewise.broker-password"  # noqa: S105 - the name of a file
STORE_NAME = "placewise.duckdb"
BROKER_FORM = "mqtt://HOST[:PORT] or mqtts://HOST[:PORT]"

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "console", "json"]


def _broker_address(value: str) -> str:
    """Refuse what is no broker's address, and passwords, which would end up in logs."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError(BROKER_FORM) from None
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{BROKER_FORM}; put the user into broker_username and broker_password")
    rest = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname or port == 0 or rest:
        raise ValueError(BROKER_FORM)
    return value


def _agent_id(value: str) -> str:
    """Keep the id to one topic level that no MQTT client misreads."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise ValueError("1 to 64 letters, digits, dots, dashes or underscores, no topic separator")
    return value


def _budget(value: str) -> str:
    """Refuse what is no budget, or one of zero."""
    try:
        parse_budget(value)
    except BadInput as error:
        raise ValueError(error.details[0].expected) from None
    return value


class Settings(BaseSettings):
    """Everything that can be set. Build it with `load_settings`.

    Called directly it reads nothing from outside: only what is passed, and the defaults.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="forbid", frozen=True, validate_default=False
    )

    broker: Annotated[str, AfterValidator(_broker_address)] | None = Field(
        None, description="Address of the broker; the agent brings its own if left out"
    )
    broker_username: str | None = Field(None, min_length=1)
    broker_password: SecretStr | None = None
    embedded_port: int = Field(1883, ge=0, le=65_535, description="Of the agent's own broker")
    store: Path = Field(
        default_factory=lambda: default_store(os.environ), description="DuckDB file of the log"
    )
    agent_id: Annotated[str, AfterValidator(_agent_id)] = Field(
        default_factory=lambda: default_agent_id(socket.gethostname()),
        description="The name of this agent on the bus",
    )
    http_host: str = Field("127.0.0.1", min_length=1)
    http_port: int = Field(8710, ge=0, le=65_535, description="0 takes any free port")
    browsers: bool = Field(False, description="Give work to browser tabs")
    browser_port: int = Field(8711, ge=0, le=65_535, description="Where tabs connect; 0: any free")
    browser_token: SecretStr | None = Field(
        None, description="What tabs have to show; made anew at each start if left out"
    )
    browser_origins: list[str] = Field(
        [], description="Addresses of the page beside the agent's own, e.g. behind a proxy"
    )
    browser_websocket_url: str | None = Field(
        None, description="Where the page finds the bridge, if not on browser_port of its host"
    )
    models: Path = Field(Path("build/models"), description="Folder of models (see `make models`)")
    log_level: LogLevel = "info"
    log_format: LogFormat = Field("auto", description="auto: console on a terminal, else json")
    max_payload_bytes: int = Field(1 << 20, ge=1_024, le=1 << 28)
    inbox_capacity: int = Field(1_000, ge=1, le=60_000, description="Messages taken ahead")
    max_batch_events: int = Field(256, ge=1, le=10_000, description="Events taken at a time")
    snapshot_every_events: int = Field(50_000, ge=1)
    knowledge: bool = Field(True, description="Begin with the public measurements that ship")
    hardware_sheets: Path | None = Field(
        None, description="CSV file of your own hardware's data sheets, beside the shipped ones"
    )
    explore: Annotated[str, AfterValidator(_budget)] | None = Field(
        None, description="Budget of what idle workers measure unasked: 50, 10min, 2kJ"
    )

    @property
    def store_named(self) -> bool:
        """Whether somebody chose the store, rather than leaving it to the default."""
        return "store" in self.model_fields_set

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is passed and nothing else: `load_settings` brings the layers together."""
        return (init_settings,)


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """Bring the layers together.

    Args:
        config: a TOML file with settings by name, in no table.
        overrides: settings by name; one that is None counts as not given.

    Raises:
        BadInput: the file can't be read, names an unknown setting, or a value is wrong in
            any layer. The field of each detail says where it came from.
    """
    layers: list[tuple[str, Mapping[str, Any]]] = [
        (str(config), _from_file(config)),
        ("the systemd credential", _from_credentials(os.environ)),
        ("the environment", EnvSettingsSource(Settings)()),
        ("", {name: value for name, value in overrides.items() if value is not None}),
    ]
    values = {name: value for _, layer in layers for name, value in layer.items()}
    origins = {name: origin for origin, layer in layers for name in layer}
    try:
        return Settings(**values)
    except ValidationError as error:
        raise _explained(error, origins) from None


def default_store(environment: Mapping[str, str]) -> Path:
    """Return where the log is kept if nobody says: systemd's state folder, else the user's."""
    # systemd lists several folders with colons between them; the unit asks for one.
    if state := environment.get("STATE_DIRECTORY"):
        return Path(state.split(":")[0]) / STORE_NAME
    state_home = Path(environment.get("XDG_STATE_HOME", ""))
    if not state_home.is_absolute():  # the specification says that a relative one is ignored
        state_home = Path.home() / ".local" / "state"
    return state_home / "placewise" / STORE_NAME


def default_agent_id(hostname: str) -> str:
    """Return the host's name as one level of a topic."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", hostname).strip("-._")
    return cleaned[:64] or "agent"


def _from_file(config: Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput.of_field(
            "--config", f"{shown(str(config))}: {error.strerror}", "a readable TOML file"
        ) from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise BadInput.of_field(
            "--config", f"{shown(str(config))}: {shown(str(error))}", "a TOML file"
        ) from None


def _from_credentials(environment: Mapping[str, str]) -> dict[str, Any]:
    """Read the password that systemd handed over, if it did."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return {}
    path = Path(folder) / PASSWORD_CREDENTIAL
    try:
        password = path.read_text(encoding="utf-8").rstrip("\r\n")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadInput.of_field(
            "broker_password", f"credential {path.name}: {shown(str(error))}", "readable UTF-8"
        ) from None
    return {"broker_password": password} if password else {}


def _explained(error: ValidationError, origins: Mapping[str, str]) -> BadInput:
    """Name each setting at fault together with the layer that it came from."""
    plain = BadInput.from_validation(error, "configuration")
    details = [_from_where(detail, origins) for detail in plain.details]
    listed = "; ".join(f"{d.field}: {d.problem}; expected {d.expected}" for d in details)
    return BadInput(f"wrong settings: {listed}", details)


def _from_where(detail: ErrorDetail, origins: Mapping[str, str]) -> ErrorDetail:
    name = detail.field.split(".")[0]
    origin = origins.get(name, "")
    if origin == "the environment":
        return detail.model_copy(update={"field": f"{ENV_PREFIX}{name.upper()}"})
    where = f"{detail.field} in {shown(origin)}" if origin else detail.field
    problem, expected = detail.problem, detail.expected
    if name in {"broker_password", "browser_token"}:
        problem = "not a usable secret"  # its value has no business in a message
    if problem == "unknown field":
        problem, expected = "unknown setting", ", ".join(sorted(Settings.model_fields))
    return ErrorDetail(field=where, problem=problem, expected=expected)
