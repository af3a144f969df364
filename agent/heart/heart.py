"""The heart itself: owner of all learned state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from agent.exploring import asked as exploring
from agent.exploring.order import Order, order
from agent.exploring.record import Record
from agent.heart import answers, sizing
from agent.heart.anomalies import Anomalies, elsewhere
from agent.heart.cells import observation_of
from agent.heart.company import Company
from agent.heart.effects import Answer, Effect, Log, Publish, Refine
from agent.heart.ledger import DEFAULT_CAPACITY, Happened, Ledger
from agent.heart.predictor import Predictor
from agent.heart.quarantine import Quarantine, Usable, judge
from agent.heart.standing import Standings
from agent.heart.stimuli import (
    AnswerLogged,
    MeasurementLogged,
    MeasurementShipped,
    RefinementLogged,
    ReleaseLogged,
    RequestReceived,
    Stimulus,
)
from agent.heart.thought import Asked, Thought
from agent.heart.versions import Lesson, Versions, teach
from agent.learning.bank import Bank, BankConfig, Observation
from agent.learning.cell import Cell
from schemas.exploration import ExplorationRequest
from schemas.measurement import Execution
from schemas.published import Decision
from schemas.quarantine import ReleaseReply
from schemas.replies import AnyReply, ModelsReply, Standing
from schemas.requests import CapacityRequest, ModelsRequest, QuarantineRequest, ReleaseRequest
from schemas.topics import RequestKind

DECISIONS: frozenset[RequestKind] = frozenset({"recommend", "place", "strategy"})
"""Requests whose answer somebody may act on; the others only inform."""

SHOWN_STANDINGS = 50
_NAMES = 4_096
_LOOK_EVERY = 10


@dataclass(frozen=True, slots=True)
class HeartConfig:
    """How the heart learns and what it keeps.

    Attributes:
        bank: how the learners are set up.
        ledger_capacity: predictions that wait to be measured.
        shipped: public measurements, learnt before the log by whoever restores a heart.
    """

    bank: BankConfig = field(default_factory=BankConfig)
    ledger_capacity: int = DEFAULT_CAPACITY
    shipped: tuple[Observation, ...] = ()


class Heart:
    """Takes stimuli, owns what was learnt from them, and says what follows.

    What comes from the log must be handed over in the order of the log; a request may come
    at any time and changes nothing. Two hearts that took the same log are equal: same
    `digest`, same answers.

    Attributes:
        config: how it learns, and what it began with.
        applied_seq: the newest log record that was taken.
        events: how many of the records were benchmarks or executions.
        bank: what was learnt.
        ledger: what was promised and may still be measured.
        company: what was learnt of models that ran together.
        standings: how well each metric of each hardware is predicted just now.
        versions: which part of the log was learnt, now and earlier.
        quarantine: measurements that are impossible, or of a distrusted source, and not learnt.
        anomalies: what was unusual, and what it was a sign of.
        explored: what was measured and asked for, and which benchmarks are wanted.
    """

    def __init__(self, config: HeartConfig | None = None) -> None:
        self.config = config = config or HeartConfig()
        self.applied_seq = 0
        self.events = 0
        self.bank = Bank(config.bank)
        self._met: dict[str, None] = {}
        self._predictor = Predictor(self.bank, self._met)
        self.ledger = Ledger(config.ledger_capacity)
        self.company = Company()
        self.standings = Standings()
        self.versions = Versions()
        self.quarantine = Quarantine()
        self.anomalies = Anomalies()
        self.explored = Record()

    def __getstate__(self) -> dict[str, object]:
        """Leave out what ships with the package; whoever restores a heart gives it again."""
        return vars(self) | {"config": replace(self.config, shipped=())}

    def handle(self, stimulus: Stimulus) -> list[Effect]:
        """Take one stimulus and return what follows from it, in order."""
        match stimulus:
            case MeasurementShipped():
                return self._given(stimulus)
            case MeasurementLogged():
                return self._measured(stimulus)
            case AnswerLogged():
                self.applied_seq = stimulus.seq
                self.ledger.open(stimulus)
                if stimulus.kind == "strategy":
                    self.company.decided(stimulus.reply)
                self.explored.answered(stimulus.kind, stimulus.reply)
                return []
            case RefinementLogged():
                return self._refined(stimulus)
            case ReleaseLogged():
                return self._released(stimulus)
            case RequestReceived():
                asked = self.ask(stimulus)
                answer = asked.answer
                reply = answer.think() if isinstance(answer, Thought) else answer
                return self.conclude(asked, reply)

    def digest(self) -> str:
        """Return a fingerprint of the learned state: equal if and only if the state is."""
        set_aside = f"{len(self.quarantine)}/{self.quarantine.set_aside}"
        learnt = f"{self.bank.digest()}:{self.explored.digest()}:{self.company.digest()}"
        return f"{self.applied_seq}:{len(self.ledger)}:{set_aside}:{learnt}"

    def models(self) -> ModelsReply:
        """Return which version of the learned state is current, and how its predictions do."""
        worst = sorted(self.standings.summaries(), key=lambda one: one.recent, reverse=True)
        return ModelsReply(
            version=self.versions.current.number,
            observations_learned=self.bank.observed_count,
            refinements=self.versions.refinements,
            standings=[
                Standing(
                    metric=one.metric,
                    hardware=one.hardware,
                    events=one.events,
                    usual_ape=one.usual_ape,
                    recent_ape=one.recent_ape,
                    bias=one.relative_bias,
                    trend=one.trend,
                )
                for one in worst[:SHOWN_STANDINGS]
            ],
        )

    def _given(self, stimulus: MeasurementShipped) -> list[Effect]:
        assert self.applied_seq == 0, "what ships is learnt before the log"
        if self.bank.judge(stimulus.observation) is None:
            self.bank.learn(stimulus.observation, shipped=True)
            self.bank.take_drifts()
            self.explored.learnt(stimulus.observation, None, self._predictor)
        return []

    def _measured(self, stimulus: MeasurementLogged) -> list[Effect]:
        self.applied_seq = stimulus.seq
        self.events += 1
        source, event_id = stimulus.source, stimulus.id
        distrusted = source in self.anomalies.distrusted
        judged = judge(self.bank, stimulus.data, distrusted=distrusted)
        strategy = stimulus.data.strategy if isinstance(stimulus.data, Execution) else None
        at = Happened(stimulus.seq, stimulus.event_time, event_id, source, strategy)
        effects: list[Effect] = []
        if not judged.held:  # one impossible run makes doubtful what ran beside it
            self.company.learn(stimulus.data, self._predictor)
            if isinstance(stimulus.data, Execution):
                totals = self.ledger.validate_decision(stimulus.data, at)
                effects = [Publish(event_id, one) for one in totals]
        effects += self._used(at, judged.good)
        alerts = self.quarantine.hold(source, event_id, stimulus.event_time, judged.held)
        if distrusted:
            alerts += self.anomalies.look_again(source, judged.held, self._predictor)
        return effects + [Publish(event_id, alert) for alert in alerts]

    def _released(self, stimulus: ReleaseLogged) -> list[Effect]:
        """Use what was set aside, because somebody knows that it is right.

        What it did to models beside it stays unlearnt.
        """
        self.applied_seq = stimulus.seq
        release = stimulus.release
        self.quarantine.drop(release)
        runs = [Usable(one.run, one.alone, observation_of(one.run)) for one in release.runs]
        return self._used(
            Happened(stimulus.seq, stimulus.released_at, release.id, release.source), runs
        )

    def _used(self, at: Happened, runs: list[Usable]) -> list[Effect]:
        """Validate what was promised, and learn what ran alone."""
        event_id = at.id
        effects: list[Effect] = [
            Publish(event_id, validation)
            for one in runs
            if one.alone or one.run.prediction_id is not None
            for validation in self.ledger.validate(one.run, at)
        ]
        # A run beside others measures the company as much as the model: it is no benchmark.
        for observation in (one.observation for one in runs if one.alone):
            if len(self._met) < _NAMES:
                self._met[observation.cell.hardware] = None
            before = self.explored.unknown(observation, self._predictor)
            proposals, surprises = teach(self.bank, self.standings, Lesson(at.seq, observation))
            self.explored.learnt(observation, before, self._predictor)
            effects += [Refine(event_id, proposal) for proposal in proposals]
            alerts = self.anomalies.take(
                at,
                observation,
                surprises,
                self.bank.take_drifts(),
                partial(elsewhere, self._predictor, observation),
            )
            effects += [Publish(event_id, alert) for alert in alerts]
        if self.events % _LOOK_EVERY == 0:
            harmed = self.versions.follow(self.standings)
            effects += [Refine(event_id, harmed)] if harmed is not None else []
        return effects

    def _refined(self, stimulus: RefinementLogged) -> list[Effect]:
        """Take over the learned state of a version that proved better."""
        self.applied_seq = stimulus.seq
        refinement = stimulus.refinement
        self.versions.note(refinement, stimulus.seq)
        if refinement.kept:
            assert stimulus.made is not None, "what is kept was made"
            self.bank, self.standings = stimulus.made.bank, stimulus.made.standings
            self.standings.kept(refinement.scope)
            self.bank.take_drifts()  # of the past, and told of then
            self._predictor = Predictor(self.bank, self._met)
        return [Publish(f"refinement/{refinement.version.number}", refinement)]

    def ask(self, stimulus: RequestReceived) -> Asked:
        """Return a request's answer, or what is still to be decided for it and rests on it all."""
        reply = self._told(stimulus)
        if reply is not None:
            return Asked(stimulus, reply, logged=False, as_of_seq=self.applied_seq)
        if isinstance(stimulus.request, ExplorationRequest):
            thought = exploring.wanted_by(
                self._predictor, self.explored, stimulus.request, stimulus.id
            )
            return Asked(stimulus, thought, logged=True, as_of_seq=self.applied_seq)
        answer = answers.answer(self._predictor, self.company, stimulus.request, stimulus.id)
        return Asked(stimulus, answer, logged=True, as_of_seq=self.applied_seq)

    def order(self, cells: Sequence[Cell], *, runs: int, longest_s: float, order_id: str) -> Order:
        """Leave to be thought which of some cells are measured first (see `exploring.order`)."""
        return order(
            self._predictor,
            self.explored,
            cells,
            runs=runs,
            longest_s=longest_s,
            order_id=order_id,
        )

    def conclude(self, asked: Asked, reply: AnyReply) -> list[Effect]:
        """Return what follows from the reply to a request. Changes nothing."""
        stimulus = asked.stimulus
        effects: list[Effect] = [
            Answer(
                cause=stimulus.id,
                kind=stimulus.kind,
                reply=reply,
                logged=asked.logged,
                as_of_seq=asked.as_of_seq,
            )
        ]
        if isinstance(stimulus.request, ReleaseRequest):
            source, event_id = stimulus.request.source, stimulus.request.id
            effects.append(Log(stimulus.id, self.quarantine.release_of(source, event_id)))
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

    def _told(self, stimulus: RequestReceived) -> AnyReply | None:
        """Return the answer to a question that no measurement answers later; None for others."""
        match stimulus.request:
            case ModelsRequest():
                return self.models()
            case CapacityRequest() as request:
                return sizing.capacity(self._predictor, request)
            case QuarantineRequest(limit=limit):
                return self.quarantine.told(limit)
            case ReleaseRequest(source=source, id=event_id):
                return ReleaseReply(released=self.quarantine.told_of(source, event_id))
            case _:
                return None
