"""What is wrong is said once, and ends the command with a code that a script can use."""

from __future__ import annotations

import pytest

from agent import cli
from agent.settings import load_settings
from schemas.errors import (
    AgentRefused,
    BadInput,
    Corrupt,
    ErrorDetail,
    NoReplyAddress,
    PlacewiseError,
    Unavailable,
)
from schemas.requests import decode_request


def said(error: PlacewiseError, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    code = cli._explain(error)
    return code, capsys.readouterr().err.splitlines()


def refusal(kind: str, body: bytes) -> BadInput:
    with pytest.raises(BadInput) as refused:
        decode_request(kind, body)
    return refused.value


def test_one_field_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    error = BadInput.of_field("--limit", "got 'x'", "a number")
    assert said(error, capsys) == (2, ["error: --limit: got 'x'; expected a number"])
    code, lines = said(refusal("predict", b"{}"), capsys)
    assert code == cli.BAD_INPUT
    assert lines == [
        "error: this predict request is not valid: candidates: missing; expected a value"
    ]


def test_several_fields_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = said(refusal("place", b'{"goal": "none"}'), capsys)
    assert lines[0] == "error: this place request is not valid"
    assert len(lines) == 4
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["models", "devices", "goal"]


def test_what_an_agent_refused_is_said_as_if_it_had_been_refused_here(
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = refusal("predict", b"{}")
    assert said(AgentRefused(here.body()), capsys) == said(here, capsys)


def test_wrong_settings_are_a_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> BadInput:
        with pytest.raises(BadInput) as caught:
            load_settings()
        return caught.value

    monkeypatch.setenv("PLACEWISE_HTTP_PORT", "many")
    _, (only,) = said(refused(), capsys)
    assert only.startswith("error: wrong settings: PLACEWISE_HTTP_PORT: got 'many'; expected")
    monkeypatch.setenv("PLACEWISE_EMBEDDED_PORT", "few")
    _, lines = said(refused(), capsys)
    assert (lines[0], len(lines)) == ("error: wrong settings", 3)


def test_a_message_that_names_no_field_keeps_its_details(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, lines = said(NoReplyAddress(), capsys)
    assert lines[0] == "error: the request names no way to reply"
    assert lines[1].startswith("  reply_to: missing")
    detail = ErrorDetail(field="[bold]", problem="[/]", expected="no markup")
    assert said(Corrupt("odd", [detail]), capsys) == (
        cli.FAULT,
        ["error: odd", "  [bold]: [/]; expected no markup"],
    )
    assert said(Unavailable("nobody"), capsys) == (cli.UNAVAILABLE, ["error: nobody"])
