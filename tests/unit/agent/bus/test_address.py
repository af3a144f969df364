"""Addresses of brokers: read and written back, passwords kept quiet, mistakes named."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.bus.address import BrokerAddress, parse_address
from schemas.errors import BadInput

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
HOSTS = st.one_of(
    st.lists(LABELS, min_size=1, max_size=4).map(".".join),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
)
PORTS = st.integers(1, 65_535)
SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)


@given(HOSTS, PORTS, st.booleans())
def test_an_address_reads_as_it_is_written(host: str, port: int, tls: bool) -> None:
    address = BrokerAddress(host, port, tls)
    assert parse_address(str(address)) == address


@given(HOSTS, PORTS, SECRETS, SECRETS)
def test_user_and_password_are_read_from_the_address(
    host: str, port: int, user: str, password: str
) -> None:
    bare = str(BrokerAddress(host, port)).removeprefix("mqtt://")
    text = f"mqtt://{quote(user, safe='')}:{quote(password, safe='')}@{bare}"
    assert parse_address(text) == BrokerAddress(host, port, False, user, password)


def test_what_is_given_beside_the_address_wins() -> None:
    address = parse_address("mqtt://ann:old@broker", username="bob", password="new")
    assert (address.username, address.password) == ("bob", "new")


@pytest.mark.parametrize(("scheme", "port"), [("mqtt", 1883), ("mqtts", 8883)])
def test_each_scheme_has_its_port(scheme: str, port: int) -> None:
    address = parse_address(f"{scheme}://broker")
    assert (address.port, address.tls) == (port, scheme == "mqtts")


@given(st.uuids().map(str))
def test_the_password_is_never_shown(password: str) -> None:
    address = parse_address(f"mqtts://ann:{password}@broker:8884")
    assert address.password == password
    assert password not in f"{address} {address!r}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "scheme"),
        ("broker:1883", "scheme"),
        ("http://broker", "scheme"),
        ("mqtt://", "no host"),
        ("mqtt://:1883", "no host"),
        ("mqtt://broker/topic", "more than host and port"),
        ("mqtt://broker?x=1", "more than host and port"),
        ("mqtt://broker#x", "more than host and port"),
        ("mqtt://broker:0", "port 0"),
        ("mqtt://broker:65536", "out of range"),
        ("mqtt://broker:port", "port"),
        ("mqtt://[::1", "IPv6"),
    ],
)
def test_a_bad_address_is_told_what_is_wrong_with_it(text: str, problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_address(text)
    [detail] = caught.value.details
    assert detail.field == "broker"
    assert problem.lower() in detail.problem.lower()
    assert detail.expected


@pytest.mark.parametrize(
    "rest", ["", ":0", ":99999", ":port", "broker/x", "broker:1?x", "[::1", "]"]
)
def test_a_bad_address_does_not_give_its_password_away(rest: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_address(f"mqtt://ann:s3cr3t@{rest}")
    assert "s3cr3t" not in f"{caught.value} {caught.value.details}"
