# SPDX-License-Identifier: BSD-3-Clause
"""What a store does that several servers share: who has which jobs, for how long, and who may write no more."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from gearfast.store import urls
from gearfast.store._claims import claim_key, unique_key
from gearfast.store.base import (
    RANGE_BITS,
    Contents,
    Fleet,
    Member,
    SeatLost,
    Section,
    SectionInfo,
    SharedStore,
    StoreError,
    UniquesTaken,
    Write,
)

SHARED = ("memory", "postgresql", "mysql", "redis")
Join = Callable[..., SharedStore]
LONG = 100.0


@pytest.fixture(params=SHARED)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of an empty store of each kind."""
    if request.param == "memory":
        return f"memory://{tmp_path_factory.mktemp('shared').name}"
    return str(request.getfixturevalue("database_url")(request.param))


@pytest.fixture
def join(url: str) -> Iterator[Join]:
    """`join(lease=…)`: one more server's store, open; what it found is its `found`."""
    made: list[SharedStore] = []

    def new(lease: float = LONG, **about: object) -> SharedStore:
        store = urls.make_store(url)
        assert isinstance(store, SharedStore)
        made.append(store)
        store.lease = lease
        store.about = Member(**about)  # type: ignore[arg-type]
        store.found = store.open()  # type: ignore[attr-defined]
        return store

    yield new
    for store in made:
        store.close()


def pack(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers)


def section(store: SharedStore, n: int, records: bytes = b"job") -> Section:
    """Of one job, the nth of its server, as is the batch."""
    number = (store.seat << RANGE_BITS) + n
    return Section(SectionInfo(number, number, number, 1, len(records)), records)


def write(store: SharedStore, n: int, **more: object) -> SectionInfo:
    one = section(store, n)
    store.write(Write(one.info.id, one.info.id + 1, [one], **more))  # type: ignore[arg-type]
    return one.info


def until(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def left(store: SharedStore) -> float:
    """Seconds that its lease lasts, as it says itself."""
    return next(server.left for server in store.look().servers if server.id == store.seat)


def lapse(store: SharedStore) -> None:
    """Its lease ends."""
    store.lease = 0.001
    store.open()
    store.lease = LONG
    until(lambda: left(store) < 0)


def taken(store: SharedStore, dead: tuple[int, ...] = ()) -> list[SectionInfo]:
    """What it has once it has taken over what there was; the same as when it is opened again."""
    contents = store.take_over(dead)
    assert contents is not None
    assert store.open() == contents
    return contents.sections


def test_each_has_its_own(join: Join) -> None:
    one, other = join(prefix="H:one"), join(prefix="H:other")
    assert other.seat > one.seat > 0
    assert one.prefix == other.prefix == "H:one"
    mine, its = write(one, 1, losses={(one.seat << RANGE_BITS) + 1: 2}), write(other, 1)
    assert one.open() == Contents(mine.id, mine.id + 1, [mine], {mine.first: 2})
    assert other.open() == Contents(its.id, its.id + 1, [its], {})
    assert one.take_over() is None
    assert other.take_over() is None


def test_who_is_there(join: Join, url: str) -> None:
    one = join(host="here", pid=7, process="a/b/7/1", prefix="H")
    other = join(10.0, host="there", pid=8)
    one.about = Member("here", 7, "127.0.0.1:4730", "a/b/7/1", "H")
    one.renew(12)
    outside = urls.make_store(url)
    assert isinstance(outside, SharedStore)
    for store in (one, other, outside):
        fleet = store.look()
        assert [server.id for server in fleet.servers] == [one.seat, other.seat]
        assert not fleet.orphans
        first, second = fleet.servers
        assert (first.about.host, first.about.pid, first.about.addresses) == ("here", 7, "127.0.0.1:4730")
        assert (first.about.process, first.jobs, second.jobs) == ("a/b/7/1", 12, 0)
        assert LONG - 60 < first.left <= LONG
        assert -50 < second.left <= 10
        assert 0 <= first.lag < 60
    assert outside.seat == 0


def test_who_leaves_leaves_its_jobs(join: Join) -> None:
    one, other = join(), join()
    info = write(one, 1)
    one.close()
    assert other.look().orphans
    assert taken(other) == [info]
    assert other.read([info.id]) == [b"job"]
    assert not other.look().orphans
    write(other, 1, drop=[info.id])
    assert len(other.open().sections) == 1


def test_who_comes_finds_what_was_left(join: Join) -> None:
    one = join()
    info = write(one, 1)
    one.close()
    other = join()
    assert other.found.sections == [info]  # type: ignore[attr-defined]


def test_a_lease_ends(join: Join) -> None:
    one, other = join(), join()
    info = write(one, 1, losses={(one.seat << RANGE_BITS) + 1: 3})
    lapse(one)
    assert taken(other) == [info]
    with pytest.raises(SeatLost) as lost:
        write(one, 2)
    assert lost.value.batch == info.id
    assert other.open() == Contents(other.seat << RANGE_BITS, (other.seat << RANGE_BITS) + 1, [info], {info.first: 3})
    assert one.open().sections == []
    assert one.seat > other.seat
    write(one, 1)


@pytest.mark.parametrize("what", ["open", "renew", "take_over", "write"])
def test_who_lost_its_place_learns_it_from_whatever_it_does(join: Join, what: str) -> None:
    one, other = join(), join()
    info = write(one, 1)
    assert taken(other, (one.seat,)) == [info]
    with pytest.raises(SeatLost) as lost:
        {
            "open": one.open,
            "renew": lambda: one.renew(1),
            "take_over": one.take_over,
            "write": lambda: write(one, 2),
        }[what]()
    assert lost.value.batch == info.id
    assert one.seat == 0


def test_what_renews_a_lease(join: Join) -> None:
    one = join()
    for n, renew in enumerate((lambda: one.renew(1), lambda: write(one, 1), one.open)):
        before = left(one)
        until(lambda before=before: left(one) < before - 0.5)  # type: ignore[misc]
        before = left(one)
        renew()
        assert left(one) > before, n


def test_an_end_that_nobody_has_seen_yet_is_no_end(join: Join) -> None:
    """Only who takes over ends a server: until then it may go on, however late."""
    one, other = join(), join()
    lapse(one)
    info = write(one, 1)
    assert one.open().sections == [info]
    assert other.take_over() is None


def test_one_of_several_takes_it_all(join: Join) -> None:
    one, second, third = join(), join(), join()
    infos = [write(one, n) for n in range(1, 4)]
    one.close()
    assert taken(third) == infos
    assert second.take_over() is None
    assert second.open().sections == []


def test_what_was_taken_over_is_taken_over_again(join: Join) -> None:
    """With what its new owner has written of those jobs, in sections of its own."""
    one, second, third = join(), join(), join()
    numbers = [write(one, n).first for n in range(1, 4)]
    taken(second, (one.seat,))
    info = SectionInfo((second.seat << RANGE_BITS) + 1, 0, 0, 0, 4, (numbers[0],))
    second.write(
        Write(info.id, info.id + 1, [Section(info, b"anew")], {numbers[1]: pack(numbers[1])}, losses={numbers[2]: 1})
    )
    second.close()
    contents = third.take_over()
    assert contents is not None
    assert {each.id for each in contents.sections} == {info.id, *numbers}
    assert {each.id: each.ended for each in contents.sections}[numbers[1]] == pack(numbers[1])
    assert contents.losses == {numbers[2]: 1}
    assert third.read([info.id, numbers[0]]) == [b"anew", b"job"]


def test_nothing_is_nothing(join: Join) -> None:
    """Servers that had no jobs leave nothing."""
    for _ in range(5):
        join().close()
    last = join()
    assert last.found.sections == []  # type: ignore[attr-defined]
    assert last.take_over() is None
    assert last.look().servers[0].id == last.seat


def test_notes_are_for_all(join: Join) -> None:
    one, other = join(), join()
    write(one, 1, notes={"key": b"value", "more": b"1"})
    assert other.notes() == other.open().notes == {"key": b"value", "more": b"1"}
    write(other, 1, notes={"key": None, "more": b"2"})
    assert one.notes() == join().found.notes == {"more": b"2"}  # type: ignore[attr-defined]


def test_before_it_is_open(url: str) -> None:
    store = urls.make_store(url)
    assert isinstance(store, SharedStore)
    assert store.look() == Fleet((), store.look().orphans)
    for call in (lambda: store.renew(1), store.take_over):
        with pytest.raises(StoreError, match="not open"):
            call()


KEYS = [claim_key(b"resize", b"photo-%d" % n) for n in range(200)]
PHOTO = unique_key(b"photo-0")


def number(store: SharedStore, n: int) -> int:
    return (store.seat << RANGE_BITS) + n


def test_a_unique_is_one_job_s(join: Join) -> None:
    one, other = join(), join()
    write(one, 1, claims={KEYS[0]: number(one, 1)})
    with pytest.raises(UniquesTaken) as found:
        write(other, 1, claims={KEYS[1]: number(other, 1), KEYS[0]: number(other, 2)}, notes={"key": b"value"})
    assert found.value.taken == {number(other, 2): number(one, 1)}
    assert other.open() == Contents(number(other, 0), number(other, 1), [], {}), "nothing of it was done"
    assert one.claimed([PHOTO, unique_key(b"photo-1")]) == {PHOTO}
    write(other, 1, claims={KEYS[1]: number(other, 1)})
    assert one.claimed([PHOTO, unique_key(b"photo-1")]) == {PHOTO, unique_key(b"photo-1")}
    with pytest.raises(UniquesTaken) as found:
        write(one, 2, claims={KEYS[1]: number(one, 2), KEYS[0]: number(one, 3)})
    assert found.value.taken == {number(one, 2): number(other, 1), number(one, 3): number(one, 1)}


def test_claims_that_are_many(join: Join) -> None:
    one, other = join(), join()
    write(one, 1, claims={key: number(one, n) for n, key in enumerate(KEYS)})
    with pytest.raises(UniquesTaken) as found:
        write(other, 1, claims={key: number(other, n) for n, key in enumerate(KEYS)})
    assert found.value.taken == {number(other, n): number(one, n) for n in range(len(KEYS))}
    write(one, 2, releases=[(key, number(one, n)) for n, key in enumerate(KEYS)])
    assert other.claimed([key[:8] for key in KEYS]) == set()
    write(other, 1, claims={key: number(other, n) for n, key in enumerate(KEYS)})


def test_a_claim_ends_with_its_job(join: Join) -> None:
    one, other = join(), join()
    write(one, 1, claims={KEYS[0]: number(one, 1)})
    write(one, 2, releases=[(KEYS[0], number(one, 7)), (KEYS[1], number(one, 1))])
    assert other.claimed([PHOTO]) == {PHOTO}, "that was not its job"
    write(one, 3, claims={KEYS[0]: number(one, 2)}, releases=[(KEYS[0], number(one, 1))])
    with pytest.raises(UniquesTaken) as found:
        write(other, 1, claims={KEYS[0]: number(other, 1)})
    assert found.value.taken == {number(other, 1): number(one, 2)}
    write(one, 4, releases=[(KEYS[0], number(one, 2))])
    write(other, 1, claims={KEYS[0]: number(other, 1)})
    assert one.claimed([PHOTO]) == {PHOTO}
    write(one, 5, releases=[(KEYS[0], number(one, 2))])
    assert one.claimed([PHOTO]) == {PHOTO}, "it is another server's by now"


def test_the_same_unique_of_two_functions(join: Join) -> None:
    one, other = join(), join()
    write(one, 1, claims={claim_key(b"resize", b"photo-0"): number(one, 1)})
    write(other, 1, claims={claim_key(b"rotate", b"photo-0"): number(other, 1)})
    write(one, 2, releases=[(claim_key(b"resize", b"photo-0"), number(one, 1))])
    assert one.claimed([PHOTO]) == {PHOTO}
    write(other, 2, releases=[(claim_key(b"rotate", b"photo-0"), number(other, 1))])
    assert one.claimed([PHOTO]) == set()
    assert one.claimed([]) == set()


def test_claims_are_taken_over_with_their_jobs(join: Join) -> None:
    one, other = join(), join()
    job = number(one, 1)
    mine = write(one, 1, claims={KEYS[0]: job})
    lapse(one)
    with pytest.raises(UniquesTaken):
        write(other, 1, claims={KEYS[0]: number(other, 1)})
    assert taken(other) == [mine]
    with pytest.raises(SeatLost):
        write(one, 2, releases=[(KEYS[0], job)])
    assert other.claimed([PHOTO]) == {PHOTO}
    write(other, 1, drop=[mine.id], releases=[(KEYS[0], job)], claims={KEYS[1]: number(other, 1)})
    assert other.claimed([PHOTO]) == set()


def test_of_those_who_claim_at_once_one_wins(join: Join) -> None:
    """Each job is one server's, or it is told whose; and all of them end, however the keys are given."""
    stores = [join(), join(), join()]
    won: list[dict[bytes, int]] = [{} for _ in stores]

    def contend(at: int) -> None:
        store = stores[at]
        for turn in range(20):
            keys = KEYS[:20] if (turn + at) % 2 else KEYS[19::-1]
            claims = {key: number(store, 100 * turn + n) for n, key in enumerate(keys)}
            releases = list(won[at].items()) if turn % 3 == 2 else []
            while True:
                try:
                    write(store, turn + 1, claims=claims, releases=releases)
                    break
                except UniquesTaken as error:
                    claims = {key: job for key, job in claims.items() if job not in error.taken}
            won[at] = {**({} if releases else won[at]), **claims}

    threads = [threading.Thread(target=contend, args=(at,)) for at in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(map(len, won)) == 20
    assert set().union(*won) == set(KEYS[:20])
