from __future__ import annotations

from agent.feed import KEPT, WAITING, Feed


def test_who_watches_sees_what_was_said_and_what_comes() -> None:
    feed = Feed()
    feed.put("alerts", b"before")
    with feed.watch() as queue:
        feed.put("validations", b"after")
        assert queue.get_nowait() == ("alerts", b"before")
        assert queue.get_nowait() == ("validations", b"after")
        assert queue.empty()


def test_a_busy_channel_does_not_push_out_another() -> None:
    feed = Feed()
    feed.put("alerts", b"rare")
    for number in range(2 * KEPT):
        feed.put("validations", str(number).encode())
    with feed.watch() as queue:
        assert queue.get_nowait() == ("alerts", b"rare")
        assert queue.get_nowait() == ("validations", str(KEPT).encode())
        assert queue.qsize() == KEPT - 1


def test_a_slow_watcher_misses_the_oldest_and_holds_nobody_up() -> None:
    feed = Feed()
    with feed.watch() as queue:
        for number in range(WAITING + 5):
            feed.put("validations", str(number).encode())
        assert queue.qsize() == WAITING
        assert queue.get_nowait() == ("validations", b"5")


def test_the_end_reaches_who_watches_and_who_comes_later() -> None:
    feed = Feed()
    with feed.watch() as early:
        feed.close()
        assert early.get_nowait() is None
    with feed.watch() as late:
        assert late.get_nowait() is None
