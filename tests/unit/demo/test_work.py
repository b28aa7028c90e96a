import hashlib
import threading

import pytest

from scheduler_server.demo import arrivals
from scheduler_server.demo.pace import MOST, share_of_core
from scheduler_server.demo.work import BY_TYPE, KINDS, WAIT_S, Kind, digest, pack, unit_cost_s, unpack
from scheduler_server.demo.worker_process import do_units

CHUNKS = arrivals.chunks(1)
CPU_KINDS = [kind for kind in KINDS if kind.unit is not None]


def test_a_payload_carries_units_and_chunk() -> None:
    assert unpack(pack(1, b"")) == (1, b"")
    assert unpack(pack(4_000_000_000, b"chunk")) == (4_000_000_000, b"chunk")


@pytest.mark.parametrize("kind", CPU_KINDS, ids=lambda kind: kind.task_type)
def test_the_answer_depends_on_the_data_and_not_on_how_much_of_it_there_was(kind: Kind) -> None:
    chunk = CHUNKS[kind.task_type]
    never = threading.Event()
    one, three = (do_units(kind, pack(units, chunk), 1.0, never) for units in (1, 3))
    assert one == three == digest(kind, chunk)
    assert one != digest(kind, arrivals.chunks(2)[kind.task_type])


def test_a_cancelled_task_stops_after_its_present_unit() -> None:
    cancelled = threading.Event()
    done = []

    def unit(chunk: bytes) -> bytes:
        done.append(chunk)
        if len(done) == 2:
            cancelled.set()
        return chunk

    kind = Kind(task_type="t", share=1, mean=1, spread=0, chunk=lambda _: b"", unit=unit)
    assert do_units(kind, pack(1_000, b"x"), 1.0, cancelled) == b""
    assert len(done) == 2


def test_every_unit_is_really_done() -> None:
    done = []

    def unit(chunk: bytes) -> bytes:
        done.append(chunk)
        return chunk

    kind = Kind(task_type="t", share=1, mean=1, spread=0, chunk=lambda _: b"", unit=unit)
    assert do_units(kind, pack(5, b"x"), 1.0, threading.Event()) == hashlib.sha256(b"x").digest()
    assert len(done) == 5


def test_costs_of_units_are_measured_for_work_and_given_for_waiting() -> None:
    assert unit_cost_s(BY_TYPE["fetch-object"], CHUNKS["fetch-object"]) == WAIT_S
    assert 0.0 < unit_cost_s(BY_TYPE["hash-file"], CHUNKS["hash-file"]) < 0.1


def test_a_slot_never_gets_more_than_its_most() -> None:
    assert 0.0 < share_of_core() <= MOST
