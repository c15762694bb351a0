# SPDX-License-Identifier: BSD-3-Clause
"""Records of every size survive intact among each other, and what they took is given back when they are gone."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable

import pytest

from gearfast import encode
from gearfast._codec import Decoder, Packet
from gearfast.dispatch import Dispatcher
from gearfast.dispatch._check import check
from gearfast.protocol import Command

LONGEST = 600  # of names: a record of a function is larger by about 200, so these are below and above the largest cell


def pattern(number: int, size: int) -> bytes:
    """Bytes that stand nowhere else."""
    return random.Random(number).randbytes(size)


def answers(server: Dispatcher, peer: int, *packets: bytes) -> list[Packet]:
    server.receive(peer, b"".join(packets))
    got = Decoder().receive(server.take_output(peer))
    assert all(isinstance(packet, Packet) for packet in got)
    return got  # type: ignore[return-value]


@pytest.mark.parametrize("shuffle", [False, True])
def test_workloads_of_every_size(shuffle: bool) -> None:
    server = Dispatcher(handle_prefix=b"H")
    client, worker = server.connect(), server.connect()
    sizes = list(range(701)) * 2
    if shuffle:
        random.Random(7).shuffle(sizes)
    uniques = [pattern(-n, n % 65).replace(b"\0", b"0") for n in range(len(sizes))]
    wanted: dict[bytes, tuple[bytes, bytes]] = {}  # by handle; equal uniques are one job
    for number, size in enumerate(sizes):
        workload = pattern(number, size)
        (created,) = answers(server, client, encode(Command.SUBMIT_JOB_BG, b"f", uniques[number], workload))
        assert created.command == Command.JOB_CREATED
        wanted.setdefault(created.args[0], (uniques[number], workload))
    check(server)
    answers(server, worker, encode(Command.CAN_DO, b"f"))
    for number, (handle, (unique, workload)) in enumerate(wanted.items()):
        (job,) = answers(server, worker, encode(Command.GRAB_JOB_UNIQ))
        assert job.args == (handle, b"f", unique, workload)
        if number % 2:
            answers(server, worker, encode(Command.WORK_COMPLETE, handle, b""))
    check(server)
    answers(server, worker, encode(Command.RESET_ABILITIES), encode(Command.CAN_DO, b"f"))
    while server.job_count:
        (job,) = answers(server, worker, encode(Command.GRAB_JOB))
        assert job.args[2] == wanted[job.args[0]][1]
        answers(server, worker, encode(Command.WORK_FAIL, job.args[0]))
    check(server)


def test_reducers_of_every_size() -> None:
    server = Dispatcher(handle_prefix=b"H")
    client, worker = server.connect(), server.connect()
    made = []
    for number in range(65 * 9):
        reducer = pattern(number, number % 65).replace(b"\0", b"0")
        unique = pattern(-number, number // 65 * 8).replace(b"\0", b"0")
        made.append((unique, reducer, pattern(number, number)))
        packet = encode(Command.SUBMIT_REDUCE_JOB_BACKGROUND, b"f", unique, reducer, b"", made[-1][2])
        answers(server, client, packet)
    check(server)
    answers(server, worker, encode(Command.CAN_DO, b"f"))
    for unique, reducer, workload in made:
        (job,) = answers(server, worker, encode(Command.GRAB_JOB_ALL))
        assert job.args[2:] == ((unique, reducer, workload) if reducer else (unique, workload))
    check(server)


def test_functions_with_names_of_every_length() -> None:
    server = Dispatcher(handle_prefix=b"H")
    names = [pattern(size, size).replace(b"\0", b"0").replace(b"\n", b"1") for size in range(1, LONGEST + 1)]
    names += [name[:-1] + bytes([name[-1] ^ 1 or 1]) for name in names if name[-1] ^ 1 != 10]  # differ in a bit
    names = list(dict.fromkeys(names))
    client, worker = server.connect(), server.connect()
    for name in names:
        answers(server, worker, encode(Command.CAN_DO, name))
        answers(server, client, encode(Command.SUBMIT_JOB_BG, name, b"u", name))
    check(server)
    assert len(server.functions()) == len(names)
    left = set(names)
    for _ in names:
        (job,) = answers(server, worker, encode(Command.GRAB_JOB))
        assert job.args[1] == job.args[2]
        left.remove(job.args[1])
        answers(server, worker, encode(Command.WORK_COMPLETE, job.args[0], b""))
    server.disconnect(worker)
    for name in names[::2]:
        worker = server.connect()
        answers(server, worker, encode(Command.CAN_DO, name))
        answers(server, client, encode(Command.SUBMIT_JOB_BG, name, b"", b"again"))
        (job,) = answers(server, worker, encode(Command.GRAB_JOB))
        assert job.args[1:] == (name, b"again")
        answers(server, worker, encode(Command.WORK_COMPLETE, job.args[0], b""))
        server.disconnect(worker)
    check(server)


def test_a_name_is_known_however_often_others_come_between() -> None:
    """Names that share their beginning, their length or their end, one after another and dropped in between."""
    server = Dispatcher(handle_prefix=b"H")
    client = server.connect()
    names = [b"a", b"ab", b"abc", b"b", b"bc", b"ABC", b"abd", b"abcabcab", b"abcabcac", b"abcabcabc"]
    chance = random.Random(3)
    counts = dict.fromkeys(names, 0)
    for step in range(3000):
        name = chance.choice(names)
        if step % 50 == 49:
            server.receive(client, b"drop function " + name + b"\n")
            for each in names:
                if each.lower() == name.lower():
                    counts[each] = 0
        else:
            answers(server, client, encode(Command.SUBMIT_JOB_BG, name, b"", b"x"))
            counts[name] += 1
        server.take_output(client)
    assert {row["function"].encode(): row["total"] for row in server.functions() if row["total"]} == {
        name: count for name, count in counts.items() if count
    }
    check(server)


PRELUDE = """
import ctypes, os, sys
from gearfast import encode
from gearfast.dispatch import Dispatcher
from gearfast.protocol import Command

def resident():
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def say(server, peer, data, times):
    for _ in range(times):
        server.tick(1, 1)
        server.receive(peer, data)
        server.take_output(peer)

server = Dispatcher(handle_prefix=b"H")
client, worker = server.connect(), server.connect()
NAMES = [b"function-%d" % n for n in range(20_000)]
CAN_DO = [b"".join(encode(Command.CAN_DO, name) for name in NAMES[i : i + 1000]) for i in range(0, 20_000, 1000)]
"""

JOBS = """
SUBMIT = b"".join(encode(Command.SUBMIT_JOB_BG, b"f", b"", bytes(32 + n % 7 * 8)) for n in range(100))
say(server, worker, encode(Command.CAN_DO, b"f"), 1)

def round(count):
    first = server.stats()["submitted"] + 1
    say(server, client, SUBMIT, count // 100)
    full = resident()
    say(server, worker, encode(Command.GRAB_JOB) * 100, count // 100)
    for n in range(first, first + count, 100):
        say(server, worker, b"".join(encode(Command.WORK_COMPLETE, b"H:%d" % i, b"") for i in range(n, n + 100)), 1)
    assert server.job_count == 0
    return full

round(20_000)
before = resident()
full = round(300_000)
"""

REGISTRATIONS = """
def round(ending):
    workers = [server.connect() for _ in range(4)]
    for each in workers:
        for data in CAN_DO:
            say(server, each, data, 1)
    full = resident()
    for each in workers:
        if ending == "reset":
            say(server, each, encode(Command.RESET_ABILITIES), 1)
        else:
            server.disconnect(each)
    assert len(server.functions()) == 20_000
    return full

round("leave")
before = resident()
round("reset")
full = round("leave")
"""

DROPPED = """
before = resident()
for data in CAN_DO:
    say(server, worker, data, 1)
for n in range(0, 20_000, 100):
    some = NAMES[n : n + 100]
    say(server, client, b"".join(encode(Command.SUBMIT_JOB, name, b"u", b"x" * 40) for name in some), 1)
full = resident()
say(server, worker, encode(Command.RESET_ABILITIES), 1)
for name in NAMES:
    say(server, client, b"drop function " + name + b"\\n", 1)
assert server.functions() == [] and server.job_count == 0
"""

WAITERS = """
clients = [server.connect() for _ in range(20)]
SUBMIT = encode(Command.SUBMIT_JOB, b"f", b"u", b"x") * 100
for each in clients:
    say(server, each, SUBMIT, 1)
before = resident()
for each in clients:
    say(server, each, SUBMIT, 150)
full = resident()
for each in clients[1:]:
    server.disconnect(each)
server.disconnect(clients[0])
"""

ENDING = """
print(before, full, resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/statm, which is Linux's")
@pytest.mark.parametrize(
    ("script", "least"),
    [(JOBS, 30 << 20), (REGISTRATIONS, 4 << 20), (DROPPED, 15 << 20), (WAITERS, 12 << 20)],
    ids=["jobs", "registrations", "dropped", "waiters"],
)
def test_memory_comes_back(script: str, least: int, patience: Callable[[float], float]) -> None:
    """In a process of its own: what a crowd took goes back to the system with it. `least`: bytes that it takes."""
    ended = subprocess.run(
        [sys.executable, "-c", PRELUDE + script + ENDING],
        capture_output=True,
        text=True,
        timeout=patience(300),
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    before, full, after = map(int, ended.stdout.split())
    assert full - before > least, "it is a crowd"
    assert after - before < (full - before) // 4, (before, full, after)
