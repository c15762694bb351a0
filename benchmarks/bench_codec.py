# SPDX-License-Identifier: BSD-3-Clause
"""The codec in memory: packets out of 64 KiB buffers and packets into bytes. One round is one buffer.

    pytest --benchmark-only benchmarks/bench_codec.py

`submissions` says how many packets a buffer holds (extra_info `packets`), so packets a second are that by the time.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from gearfast import Command, Decoder, encode

inmemory = pytest.importorskip("gearfast.bench._inmemory", reason="the C face is measured on Linux only")


@pytest.mark.parametrize("payload", [32, 1024, 16384])
def bench_decode_c(benchmark: BenchmarkFixture, payload: int) -> None:
    """The C face: frames and arguments found in place."""
    _, benchmark.extra_info["packets"] = inmemory.submissions(payload)
    benchmark(inmemory.decode_c, 1, payload)


@pytest.mark.parametrize("payload", [32, 1024, 16384])
def bench_decode_python(benchmark: BenchmarkFixture, payload: int) -> None:
    """The Python face: a Packet for each."""
    data, count = inmemory.submissions(payload)
    benchmark.extra_info["packets"] = count
    assert len(benchmark(Decoder().receive, data)) == count


def bench_decode_python_in_pieces(benchmark: BenchmarkFixture) -> None:
    """The same bytes, cut at every 1460th as a network would."""
    data, count = inmemory.submissions(32)
    pieces = [data[at : at + 1460] for at in range(0, len(data), 1460)]
    decoder = Decoder()
    benchmark.extra_info["packets"] = count

    def decode() -> int:
        return sum(len(decoder.receive(piece)) for piece in pieces)

    assert benchmark(decode) == count


@pytest.mark.parametrize("payload", [32, 16384])
def bench_encode(benchmark: BenchmarkFixture, payload: int) -> None:
    """One SUBMIT_JOB into bytes."""
    workload = b"x" * payload
    packet = benchmark(encode, Command.SUBMIT_JOB, b"resize", b"unique-1", workload)
    assert packet.endswith(workload)
