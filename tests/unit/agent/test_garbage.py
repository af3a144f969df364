from __future__ import annotations

import gc
import weakref

from agent.garbage import short_collections


class _Cycle:
    def __init__(self) -> None:
        self.me = self


def test_what_is_new_is_collected_and_what_lives_is_set_aside() -> None:
    with short_collections() as set_aside:
        dead, living = weakref.ref(_Cycle()), _Cycle()
        before = gc.get_freeze_count()
        set_aside()

        assert dead() is None
        assert gc.get_freeze_count() > before
        assert all(one is not living for one in gc.get_objects())
    assert gc.get_freeze_count() == 0
