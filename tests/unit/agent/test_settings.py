from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.settings import (
    PASSWORD_CREDENTIAL,
    Settings,
    default_agent_id,
    default_store,
    load_settings,
)
from schemas.errors import BadInput
from schemas.topics import agent as agent_topic


def file_with(folder: Path, text: str) -> Path:
    path = folder / "placewise.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_set_is_useful_at_once() -> None:
    settings = load_settings()
    assert settings.broker is None
    assert settings.http_host == "127.0.0.1"
    assert settings.max_payload_bytes == 1024 * 1024
    assert settings.embedded_port == 1883
    assert not settings.store_named
    assert settings.agent_id == default_agent_id(socket.gethostname())


def test_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file_with(
        tmp_path, 'http_port = 1\ninbox_capacity = 1\nlog_level = "debug"\nagent_id = "file"\n'
    )
    monkeypatch.setenv("PLACEWISE_HTTP_PORT", "2")
    monkeypatch.setenv("PLACEWISE_INBOX_CAPACITY", "2")
    settings = load_settings(path, http_port=3, broker=None)
    assert settings.http_port == 3  # said outright
    assert settings.inbox_capacity == 2  # environment over file
    assert settings.log_level == "debug"  # file over default
    assert settings.agent_id == "file"
    assert settings.max_batch_events == 256


def test_store_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(store=tmp_path / "a").store_named
    monkeypatch.setenv("PLACEWISE_STORE", str(tmp_path / "b"))
    settings = load_settings()
    assert settings.store == tmp_path / "b"
    assert settings.store_named


def test_built_directly_it_reads_nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACEWISE_HTTP_PORT", "2")
    assert Settings().http_port == 8710


def test_environment_read_at_the_call_not_at_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACEWISE_AGENT_ID", "one")
    assert load_settings().agent_id == "one"
    monkeypatch.setenv("PLACEWISE_AGENT_ID", "two")
    assert load_settings().agent_id == "two"


def test_names_that_an_orchestrator_injects_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    # Kubernetes sets these in every container beside a service called "placewise".
    monkeypatch.setenv("PLACEWISE_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("PLACEWISE_PORT", "tcp://10.0.0.1:1883")
    assert load_settings().http_port == 8710


@pytest.mark.parametrize(
    "address",
    ["mqtt://broker", "mqtt://10.0.0.1:1884", "mqtts://broker.example:8883/", "mqtt://[::1]:1883"],
)
def test_broker_addresses(address: str) -> None:
    assert load_settings(broker=address).broker == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "broker",
        "broker:1883",
        "http://broker",
        "mqtt://",
        "mqtt://broker:port",
        "mqtt://broker:99999",
        "mqtt://broker:0",
        "mqtt://broker/topic",
        "mqtt://[::1",
    ],
)
def test_wrong_broker_addresses(address: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_settings(broker=address)
    (detail,) = caught.value.details
    assert detail.field == "broker"
    assert "mqtt://HOST" in detail.expected
    assert "mqtt://HOST" in str(caught.value)


def test_password_in_the_address_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        load_settings(broker="mqtt://me:hunter2@broker")
    assert "broker_password" in caught.value.details[0].expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("http_port", "65536"),
        ("http_port", "-1"),
        ("http_port", "eighty"),
        ("max_payload_bytes", "12"),
        ("inbox_capacity", "0"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("agent_id", "a/b"),
        ("agent_id", "+"),
        ("agent_id", ""),
    ],
)
def test_wrong_value_names_where_it_stands(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadInput) as outright:
        load_settings(**{name: value})
    assert outright.value.details[0].field == name
    path = file_with(tmp_path, f"{name} = {value!r}\n")
    with pytest.raises(BadInput) as in_file:
        load_settings(path)
    assert in_file.value.details[0].field == f"{name} in {path}"[:120]
    monkeypatch.setenv(f"PLACEWISE_{name.upper()}", value)
    with pytest.raises(BadInput) as in_environment:
        load_settings()
    (detail,) = in_environment.value.details
    assert detail.field == f"PLACEWISE_{name.upper()}"
    assert detail.problem
    assert detail.expected
    assert detail.field in str(in_environment.value)


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        load_settings(http_port=-1, log_level="loud")
    assert {detail.field for detail in caught.value.details} == {"http_port", "log_level"}


def test_unknown_setting_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        load_settings(file_with(tmp_path, 'brokr = "mqtt://broker"\n'))
    (detail,) = caught.value.details
    assert detail.field.startswith("brokr in ")
    assert detail.problem == "unknown setting"
    assert "broker" in detail.expected


@pytest.mark.parametrize("content", [b"http_port = ", b"\xff\xfe", b"[http]\nport = 1\n"])
def test_wrong_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "placewise.toml"
    path.write_bytes(content)
    with pytest.raises(BadInput):
        load_settings(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file") as caught:
        load_settings(tmp_path / "none.toml")
    assert caught.value.details[0].field == "--config"


def test_password_from_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / PASSWORD_CREDENTIAL).write_text("hunter2\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = load_settings()
    assert settings.broker_password is not None
    assert settings.broker_password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings)
    monkeypatch.setenv("PLACEWISE_BROKER_PASSWORD", "other")
    password = load_settings().broker_password
    assert password is not None
    assert password.get_secret_value() == "other"


@pytest.mark.parametrize("content", [None, b"", b"\n"])
def test_no_password_from_systemd(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / PASSWORD_CREDENTIAL).write_bytes(content)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load_settings().broker_password is None


def test_unreadable_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / PASSWORD_CREDENTIAL).write_bytes(b"\xff")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(BadInput) as caught:
        load_settings()
    assert caught.value.details[0].field == "broker_password"


def test_a_wrong_password_stays_out_of_the_message() -> None:
    with pytest.raises(BadInput) as caught:
        load_settings(broker_password=["hunter2"])
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.details)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/placewise"}, "/var/lib/placewise/placewise.duckdb"),
        ({"STATE_DIRECTORY": "/a:/b", "XDG_STATE_HOME": "/x"}, "/a/placewise.duckdb"),
        ({"XDG_STATE_HOME": "/x"}, "/x/placewise/placewise.duckdb"),
    ],
)
def test_default_store(environment: dict[str, str], expected: str) -> None:
    assert default_store(environment) == Path(expected)


@pytest.mark.parametrize("environment", [{}, {"XDG_STATE_HOME": "relative"}])
def test_default_store_at_home(environment: dict[str, str]) -> None:
    expected = Path.home() / ".local/state/placewise/placewise.duckdb"
    assert default_store(environment) == expected


def test_the_default_store_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/placewise")
    assert load_settings().store == default_store(os.environ)
    assert not load_settings().store_named


@given(st.text())
def test_any_hostname_becomes_an_id(hostname: str) -> None:
    settings = Settings(agent_id=default_agent_id(hostname))
    assert len(agent_topic(settings.agent_id, "state").split("/")) == 5
