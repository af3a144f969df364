from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.store import known
from agent.store.known import DIGEST_BYTES, KnownDigests, digest_of, halves_of
from agent.store.port import LogRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)

# Few first halves, so that different digests share one; and the largest, which stand at the end.
HALVES = st.sampled_from([0, 1, 2, 2**63 - 1, 2**63, 2**64 - 1])
DIGESTS = st.tuples(HALVES, HALVES).map(
    lambda halves: b"".join(half.to_bytes(8, "little") for half in halves)
)


def a_record(source: str, id_: str) -> LogRecord:
    return LogRecord("benchmark", source, id_, NOW, NOW, "{}")


def known_digests(digests: list[bytes]) -> KnownDigests:
    return KnownDigests(*halves_of(digests))


@given(
    start=st.lists(DIGESTS, unique=True, max_size=20),
    rounds=st.lists(st.lists(DIGESTS, max_size=10), max_size=6),
    max_recent=st.integers(0, 12),
)
def test_it_is_a_set(start: list[bytes], rounds: list[list[bytes]], max_recent: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known, "MAX_RECENT", max_recent)
        model = set(start)
        digests = known_digests(start)
        for asked in rounds:
            assert digests.which(asked) == [digest in model for digest in asked]
            new = list(dict.fromkeys(digest for digest in asked if digest not in model))
            digests.add(new)
            model.update(new)
            assert len(digests) == len(model)
        every = sorted(model)
        assert digests.which(every) == [True] * len(every)


def test_an_empty_log_knows_nothing() -> None:
    digests = known_digests([])
    assert digests.which([]) == []
    assert digests.which([bytes(DIGEST_BYTES)]) == [False]


def test_memory_stays_at_sixteen_bytes_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MAX_RECENT", 100)
    digests = known_digests([])
    for number in range(10):
        digests.add([(number * 60 + k).to_bytes(DIGEST_BYTES, "big") for k in range(60)])
        assert len(digests._recent) <= 100
    assert digests._high.nbytes + digests._low.nbytes <= 600 * DIGEST_BYTES
    assert len(digests) == 600


def test_source_and_id_are_a_pair() -> None:
    pairs = [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", ""), ("1:", "a"), ("", "1:a")]
    assert len({digest_of(a_record(*pair)) for pair in pairs}) == len(pairs)


def test_the_digest_is_the_same_for_ever() -> None:
    """Logs hold it: were it made otherwise, every record of theirs would be taken twice."""
    digest = digest_of(a_record("serving/eu", "été-1"))
    assert digest.hex() == "07f68876464a49b19a25a272a5d6a66a"


def test_halves_are_what_they_were_on_any_machine() -> None:
    high, low = halves_of([bytes(range(16))])
    assert high.dtype == low.dtype == np.uint64
    assert (int(high[0]), int(low[0])) == (0x0706050403020100, 0x0F0E0D0C0B0A0908)
