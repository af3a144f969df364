"""Measurements that were set aside because nothing can be so: logged, but not learnt."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from schemas.base import Message
from schemas.measurement import ModelRun


class Quarantined(Message):
    """A measurement that was set aside, and why."""

    source: str
    id: str
    time: AwareDatetime
    model: str
    hardware: str
    reason: str


class HeldRun(Message):
    """One run of an event that is set aside. Only what ran alone is learnt on release."""

    run: ModelRun
    alone: bool
    reason: str


class Release(Message):
    """Somebody knows that a measurement is right: from here on in the log, it is learnt."""

    source: str = Field(description="Of the event that was set aside")
    id: str = Field(description="Of the event that was set aside")
    runs: list[HeldRun]


class QuarantineReply(Message):
    """What is set aside, the newest first."""

    held: int = Field(description="Measurements that can be released")
    set_aside: int = Field(description="In all, since the log began")
    released: int
    measurements: list[Quarantined]


class ReleaseReply(Message):
    """What was released; it is learnt from now on."""

    released: list[Quarantined]
