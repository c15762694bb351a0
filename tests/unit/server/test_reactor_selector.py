# SPDX-License-Identifier: BSD-3-Clause
"""The reactor as the selector of an asyncio loop."""

from __future__ import annotations

import asyncio
import selectors
import socket
import sys
import threading

import pytest

from gearfast.dispatch import Dispatcher

if sys.platform != "linux":
    pytest.skip("needs Linux (epoll)", allow_module_level=True)

from gearfast.server._reactor import Reactor


def test_keys_are_found_by_descriptor_and_by_object() -> None:
    reactor = Reactor(Dispatcher())
    ours, theirs = socket.socketpair()
    with ours, theirs:
        key = reactor.register(ours, selectors.EVENT_READ, "data")
        assert reactor.get_key(ours) is key
        assert reactor.get_map()[ours] is key
        assert reactor.get_map().get(ours.fileno()) is key
        assert list(reactor.get_map()) == [ours.fileno()]
        with pytest.raises(KeyError):
            reactor.register(ours, selectors.EVENT_READ)
        changed = reactor.modify(ours, selectors.EVENT_READ | selectors.EVENT_WRITE)
        assert reactor.select(0) == [(changed, selectors.EVENT_WRITE)]
        theirs.send(b"x")
        assert reactor.select(5) == [(changed, selectors.EVENT_READ | selectors.EVENT_WRITE)]
        assert reactor.unregister(ours) is changed
        with pytest.raises(KeyError):
            reactor.get_key(ours)
    reactor.close()


@pytest.mark.parametrize("events", [0, 4, -1])
def test_events_that_do_not_exist(events: int) -> None:
    reactor = Reactor(Dispatcher())
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(ValueError, match="invalid events"):
        reactor.register(ours, events)
    reactor.close()


def test_a_socket_of_asyncio_can_change_its_reader() -> None:
    loop = asyncio.SelectorEventLoop(Reactor(Dispatcher()))
    ours, theirs = socket.socketpair()
    found: list[str] = []

    async def main() -> None:
        done = loop.create_future()
        loop.add_reader(ours, found.append, "first")
        loop.add_reader(ours, done.set_result, None)
        loop.add_writer(ours, loop.remove_writer, ours)
        theirs.send(b"x")
        await asyncio.wait_for(done, 5)
        loop.remove_reader(ours)

    with ours, theirs:
        try:
            loop.run_until_complete(main())
        finally:
            loop.close()
    assert found == []


def test_it_belongs_to_one_thread() -> None:
    reactor = Reactor(Dispatcher())
    reactor.select(0)
    errors: list[BaseException] = []

    def other() -> None:
        try:
            reactor.select(0)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert [str(error) for error in errors] == ["a reactor belongs to the thread that ran it first"]
    reactor.close()


def test_a_closed_one_says_so() -> None:
    reactor = Reactor(Dispatcher())
    reactor.close()
    reactor.close()
    with pytest.raises(ValueError, match="closed"):
        reactor.select(0)


@pytest.mark.parametrize("settings", [{"what": 1}, {"high_water": -1}])
def test_bad_settings(settings: dict[str, int]) -> None:
    with pytest.raises((TypeError, OverflowError)):
        Reactor(Dispatcher(), **settings)  # type: ignore[arg-type]
