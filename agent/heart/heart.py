"""The heart itself: owner of all learned state."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.heart import answers
from agent.heart.cells import observation_of
from agent.heart.effects import Answer, Effect, Publish
from agent.heart.ledger import DEFAULT_CAPACITY, Ledger
from agent.heart.predictor import Predictor
from agent.heart.stimuli import AnswerLogged, MeasurementLogged, RequestReceived, Stimulus
from agent.learning.bank import Bank, BankConfig, Drifted
from schemas.measurement import Execution
from schemas.published import Alert, Decision
from schemas.topics import RequestKind

DECISIONS: frozenset[RequestKind] = frozenset({"recommend", "place", "strategy"})
"""Requests whose answer somebody may act on; the others only inform."""


@dataclass(frozen=True, slots=True)
class HeartConfig:
    """How the heart learns and what it keeps."""

    bank: BankConfig = field(default_factory=BankConfig)
    ledger_capacity: int = DEFAULT_CAPACITY


class Heart:
    """Takes stimuli, owns what was learnt from them, and says what follows.

    What comes from the log must be handed over in the order of the log; a request may come
    at any time and changes nothing. Two hearts that took the same log are equal: same
    `digest`, same answers.

    Attributes:
        applied_seq: the newest log record that was taken.
        events: how many of the records were benchmarks or executions.
        bank: what was learnt.
        ledger: what was promised and may still be measured.
    """

    def __init__(self, config: HeartConfig | None = None) -> None:
        config = config or HeartConfig()
        self.applied_seq = 0
        self.events = 0
        self.bank = Bank(config.bank)
        self._predictor = Predictor(self.bank)
        self.ledger = Ledger(config.ledger_capacity)

    def handle(self, stimulus: Stimulus) -> list[Effect]:
        """Take one stimulus and return what follows from it, in order."""
        match stimulus:
            case MeasurementLogged():
                return self._measured(stimulus)
            case AnswerLogged():
                self.applied_seq = stimulus.seq
                self.ledger.open(stimulus)
                return []
            case RequestReceived():
                return self._asked(stimulus)

    def digest(self) -> str:
        """Return a fingerprint of the learned state: equal if and only if the state is."""
        return f"{self.applied_seq}:{len(self.ledger)}:{self.bank.digest()}"

    def _measured(self, stimulus: MeasurementLogged) -> list[Effect]:
        self.applied_seq = stimulus.seq
        self.events += 1
        data = stimulus.data
        runs = data.runs if isinstance(data, Execution) else [data]
        effects: list[Effect] = [
            Publish(stimulus.id, validation)
            for run in runs
            for validation in self.ledger.validate(run, stimulus.id, stimulus.source)
        ]
        # A run beside others measures the company as much as the model: it is no benchmark.
        for run in data.alone() if isinstance(data, Execution) else [data]:
            self.bank.learn(observation_of(run))
        effects += [Publish(stimulus.id, _alert(drift)) for drift in self.bank.take_drifts()]
        return effects

    def _asked(self, stimulus: RequestReceived) -> list[Effect]:
        reply = answers.answer(self._predictor, stimulus.request, stimulus.id)
        effects: list[Effect] = [
            Answer(
                cause=stimulus.id,
                kind=stimulus.kind,
                reply=reply,
                logged=True,
                as_of_seq=self.applied_seq,
            )
        ]
        if stimulus.kind in DECISIONS:
            effects.append(
                Publish(
                    stimulus.id,
                    Decision(
                        decision_id=stimulus.id,
                        kind=stimulus.kind,
                        request=stimulus.request.model_dump(mode="json", exclude_none=True),
                        reply=reply.model_dump(mode="json"),
                    ),
                )
            )
        return effects


def _alert(drift: Drifted) -> Alert:
    """Say in words what has shifted, and where."""
    scope = {"metric": drift.metric, "hardware": drift.hardware}
    if drift.setup is not None:
        scope["setup"] = " / ".join(part for part in drift.setup if part)
    return Alert(
        kind="drift",
        message=(
            f"{drift.metric} on {drift.hardware} is now {drift.factor:.2f} times what it was, "
            f"over the last {drift.events} measurements"
        ),
        scope=scope,
    )
