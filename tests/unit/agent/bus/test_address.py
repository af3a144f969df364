from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.bus.address import BrokerAddress, parse_address
from schemas.errors import BadInput


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mqtt://lab", BrokerAddress("lab")),
        ("mqtt://lab/", BrokerAddress("lab")),
        ("MQTT://Lab:1884", BrokerAddress("lab", 1884)),
        ("mqtts://lab", BrokerAddress("lab", 8883, tls=True)),
        ("mqtt://[::1]:1884", BrokerAddress("::1", 1884)),
        ("mqtt://me@lab", BrokerAddress("lab", username="me")),
        ("mqtt://me:a%3Ab%40c@lab", BrokerAddress("lab", username="me", password="a:b@c")),
    ],
)
def test_reads(text: str, expected: BrokerAddress) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("lab:1883", "scheme"),
        ("lab", "scheme"),
        ("", "scheme"),
        ("http://lab", "scheme"),
        ("mqtt://", "no host"),
        ("mqtt://:1883", "no host"),
        ("mqtt://lab:0", "port 0"),
        ("mqtt://lab:99999", "ort"),
        ("mqtt://lab:mqtt", "ort"),
        ("mqtt://[::1", "not an address"),
        ("mqtt://lab/path", "more than host and port"),
        ("mqtt://lab?a=b", "more than host and port"),
        ("mqtt://lab#a", "more than host and port"),
    ],
)
def test_refuses_saying_what_is_wrong_and_what_would_be_right(text: str, problem: str) -> None:
    with pytest.raises(BadInput, match=problem) as caught:
        parse_address(text)
    (detail,) = caught.value.details
    assert detail.field == "broker"
    assert "mqtt://" in detail.expected or "port" in detail.expected


def test_what_is_given_beside_it_wins() -> None:
    address = parse_address("mqtt://me:old@lab", "you", "new")
    assert (address.username, address.password) == ("you", "new")


def test_the_password_is_never_shown() -> None:
    address = parse_address("mqtt://me:hunter2@lab")
    assert "hunter2" not in repr(address) + str(address) + f"{address}"


@pytest.mark.parametrize(
    "text",
    [
        "mqtt://me:hunter2@lab:port",
        "mqtt://me:hunter2@lab:99999",
        "mqtt://me:hunter2@lab/x",
        "mqtt://me:hunter2@[lab",
        "me:hunter2@lab",
        "mqtt://me:hunter2/x@lab",
    ],
)
def test_an_error_does_not_show_the_password_either(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_address(text)
    assert "hunter2" not in str(caught.value) + repr(caught.value.details)


@given(st.sampled_from(["lab", "10.0.0.1", "::1"]), st.integers(1, 65_535), st.booleans())
def test_what_is_printed_reads_back(host: str, port: int, tls: bool) -> None:
    address = BrokerAddress(host, port, tls)
    assert parse_address(str(address)) == address


@given(st.text())
def test_any_text_is_an_address_or_bad_input(text: str) -> None:
    with contextlib.suppress(BadInput):
        parse_address(text)
