"""The set of digests agrees with a plain set, whatever collides and whenever it is sorted in."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.store import known
from agent.store.known import DIGEST_BYTES, KnownDigests, digest_of, halves_of
from agent.store.port import LogRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def digest(high: int, low: int) -> bytes:
    return struct.pack("<QQ", high, low)


# Few and extreme halves, so that first halves, second halves and both coincide often.
HALVES = st.sampled_from([0, 1, 2, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1])
DIGESTS = st.builds(digest, HALVES, HALVES)
SETS = st.lists(DIGESTS, unique=True, max_size=30)


def known_from(digests: list[bytes]) -> KnownDigests:
    return KnownDigests(*halves_of(digests))


@given(start=SETS, later=st.lists(SETS, max_size=5), asked=st.lists(DIGESTS, max_size=20))
@pytest.mark.parametrize("max_recent", [0, 3, 1_000])
def test_it_knows_exactly_what_it_was_given(
    max_recent: int, start: list[bytes], later: list[list[bytes]], asked: list[bytes]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known, "MAX_RECENT", max_recent)
        digests = known_from(start)
        plain = set(start)
        for some in later:
            new = [one for one in some if one not in plain]
            digests.add(new)
            plain.update(new)
            assert len(digests) == len(plain)
            assert digests.which(asked) == [one in plain for one in asked]


def test_an_empty_set_knows_nothing() -> None:
    digests = known_from([])
    assert len(digests) == 0
    assert digests.which([]) == []
    assert digests.which([digest(0, 0), digest(2**64 - 1, 2**64 - 1)]) == [False, False]


def test_the_halves_survive_the_way_through_the_file() -> None:
    both = [digest(2**64 - 1, 0), digest(7, 2**63)]
    high, low = halves_of(both)
    assert high.dtype == low.dtype == np.uint64
    assert [digest(int(h), int(m)) for h, m in zip(high, low, strict=True)] == both


@given(first=st.tuples(st.text(), st.text()), second=st.tuples(st.text(), st.text()))
def test_only_equal_pairs_have_equal_digests(
    first: tuple[str, str], second: tuple[str, str]
) -> None:
    def made(pair: tuple[str, str]) -> bytes:
        return digest_of(LogRecord("benchmark", *pair, NOW, NOW, "{}"))

    assert len(made(first)) == DIGEST_BYTES
    assert (made(first) == made(second)) == (first == second)


def test_the_digest_never_changes() -> None:
    """Files hold them: another digest would let every duplicate in."""
    record = LogRecord("answer", "lab", "42", NOW, NOW, "{}")
    assert digest_of(record).hex() == "5c2c1fdb97b07e3a9faeeeedcd43ea8d"
