# SPDX-License-Identifier: BSD-3-Clause
"""Reduce jobs through the C library, as neither PHP nor Perl nor `gearman` has them.

Usage: reduce_libgearman.py worker HOST PORT SPLIT UPPER, or client HOST PORT SPLIT REDUCER WORDS.
The function SPLIT sends each word of its workload as a piece; the library's worker submits each piece as a job for the
reducer, and joins their results with "+" (the aggregator). UPPER is a reducer. The client prints the result.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_size_t, c_uint16, c_void_p

LIBRARY = "libgearman.so.8"
SUCCESS = 0


class Function(Structure):
    _fields_ = (("kind", c_int), ("func", c_void_p), ("aggregator", c_void_p))


class Text(Structure):
    _fields_ = (("value", c_char_p), ("size", c_size_t))


class Argument(Structure):
    _fields_ = (("name", Text), ("value", Text))


JobFunction = CFUNCTYPE(c_int, c_void_p, c_void_p)
Aggregator = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p)

lib = ctypes.CDLL(LIBRARY)
_POINTERS = (
    "gearman_worker_create", "gearman_client_create", "gearman_job_workload", "gearman_next",
    "gearman_task_result", "gearman_result_value", "gearman_execute_by_partition",
)  # fmt: skip
for _name in _POINTERS:
    getattr(lib, _name).restype = c_void_p
lib.gearman_job_workload_size.restype = lib.gearman_result_size.restype = c_size_t
lib.gearman_function_create.restype = lib.gearman_function_create_partition.restype = Function
lib.gearman_argument_make.restype = Argument
lib.gearman_client_error.restype = lib.gearman_worker_error.restype = c_char_p


def workload(job: int) -> bytes:
    return ctypes.string_at(lib.gearman_job_workload(c_void_p(job)), lib.gearman_job_workload_size(c_void_p(job)))


def result_of(result: int) -> bytes:
    size = lib.gearman_result_size(c_void_p(result))
    return ctypes.string_at(lib.gearman_result_value(c_void_p(result)), size) if size else b""


def split(job: int, context: int | None) -> int:
    for word in workload(job).split():
        lib.gearman_job_send_data(c_void_p(job), c_char_p(word), c_size_t(len(word)))
    return SUCCESS


def upper(job: int, context: int | None) -> int:
    word = workload(job).upper()
    lib.gearman_job_send_complete(c_void_p(job), c_char_p(word), c_size_t(len(word)))
    return SUCCESS


def join(aggregator: int, task: int | None, result: int) -> int:
    words = []
    while task:
        words.append(result_of(lib.gearman_task_result(c_void_p(task))))
        task = lib.gearman_next(c_void_p(task))
    # The library hands the tasks out in an order of its own.
    joined = b"+".join(sorted(words))
    lib.gearman_result_store_value(c_void_p(result), c_char_p(joined), c_size_t(len(joined)))
    return SUCCESS


# The library keeps these, so they must live as long as the process.
CALLBACKS = {"split": JobFunction(split), "upper": JobFunction(upper), "join": Aggregator(join)}


def work(host: bytes, port: int, splitting: bytes, reducing: bytes) -> None:
    worker = c_void_p(lib.gearman_worker_create(None))
    lib.gearman_worker_add_server(worker, c_char_p(host), c_uint16(port))
    functions = {
        splitting: lib.gearman_function_create_partition(CALLBACKS["split"], CALLBACKS["join"]),
        reducing: lib.gearman_function_create(CALLBACKS["upper"]),
    }
    for name, function in functions.items():
        lib.gearman_worker_define_function(worker, c_char_p(name), c_size_t(len(name)), function, 0, None)
    while lib.gearman_worker_work(worker) == SUCCESS:
        pass
    print(lib.gearman_worker_error(worker), file=sys.stderr)


def run(host: bytes, port: int, splitting: bytes, reducing: bytes, words: bytes) -> None:
    client = c_void_p(lib.gearman_client_create(None))
    lib.gearman_client_add_server(client, c_char_p(host), c_uint16(port))
    lib.gearman_client_set_timeout(client, 20_000)
    argument = lib.gearman_argument_make(None, c_size_t(0), c_char_p(words), c_size_t(len(words)))
    lib.gearman_execute_by_partition.argtypes = (
        c_void_p, c_char_p, c_size_t, c_char_p, c_size_t, c_char_p, c_size_t, c_void_p, POINTER(Argument), c_void_p,
    )  # fmt: skip
    task = lib.gearman_execute_by_partition(
        client, splitting, len(splitting), reducing, len(reducing), None, 0, None, byref(argument), None
    )
    if not task or lib.gearman_task_return(c_void_p(task)) != SUCCESS:
        raise SystemExit(f"no result: {lib.gearman_client_error(client)!r}")
    print(result_of(lib.gearman_task_result(c_void_p(task))).decode())


def main(mode: str, host: str, port: str, splitting: str, reducing: str, words: str = "") -> None:
    if mode == "worker":
        work(host.encode(), int(port), splitting.encode(), reducing.encode())
    else:
        run(host.encode(), int(port), splitting.encode(), reducing.encode(), words.encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
