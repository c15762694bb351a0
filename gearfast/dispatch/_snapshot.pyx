# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The dispatcher's state as Python objects, for embedded servers, tests and metrics."""

from cpython.bytes cimport PyBytes_FromStringAndSize

from gearfast.dispatch._job cimport (
    HANDLE_ROOM,
    Walk,
    job_unique,
    job_workload,
    walk_begin,
    walk_next,
    write_handle,
)
from gearfast.dispatch._output cimport unsent
from gearfast.dispatch._records cimport (
    JOB_BACKGROUND,
    JOB_DELAYED,
    JOB_IGNORED,
    JOB_RUNNING,
    PEER_ASLEEP,
    PEER_CLOSING,
    Ability,
    Core,
    Function,
    Job,
    Peer,
)

PRIORITIES = ("high", "normal", "low")


cdef str function_name(Function* function):
    return PyBytes_FromStringAndSize(function.name, function.size).decode("utf-8", "backslashreplace")


cdef list list_jobs(Core* core):
    cdef char handle[HANDLE_ROOM]
    cdef size_t size
    cdef Walk walk
    cdef Job* job
    cdef list found = []
    walk_begin(&walk)
    while True:
        job = walk_next(&core.handles, &walk)
        if job == NULL:
            break
        size = write_handle(core, handle, job.number)
        found.append({
            "number": job.number,
            "handle": PyBytes_FromStringAndSize(handle, size).decode("utf-8", "backslashreplace"),
            "function": function_name(job.function),
            "unique": PyBytes_FromStringAndSize(job_unique(job), job.unique_size),
            "workload": PyBytes_FromStringAndSize(job_workload(job), job.size),
            "priority": PRIORITIES[job.priority],
            "background": job.flags & JOB_BACKGROUND != 0,
            "ignored": job.flags & JOB_IGNORED != 0,
            "running": job.state == JOB_RUNNING,
            "retries": job.retries,
            "clients": job.waiting,
            "numerator": job.numerator,
            "denominator": job.denominator,
            "due": job.timer.when / 1e9 if job.state == JOB_DELAYED else 0.0,
            "worker": job.worker.id if job.worker != NULL else None,
        })
    found.sort(key=lambda each: each["number"])
    return found


cdef list list_functions(Core* core):
    cdef Function* function = core.first_function
    cdef list found = []
    while function != NULL:
        found.append({
            "function": function_name(function),
            "total": function.total,
            "running": function.running,
            "workers": function.workers,
            "queued": [function.queued[0], function.queued[1], function.queued[2]],
            "limits": [function.limit[0], function.limit[1], function.limit[2]],
        })
        function = function.next
    return found


cdef size_t unfinished(Peer* peer) noexcept:
    """Bytes that are held of a frame that is not complete."""
    if peer.large != NULL:
        return peer.large.end - peer.large.begin
    return peer.partial.end - peer.partial.begin


cdef list list_peers(Core* core):
    cdef size_t i
    cdef Peer* peer
    cdef Ability* ability
    cdef list found = []
    cdef list functions
    for i in range(core.slot_count):
        peer = core.slots[i].peer
        if peer == NULL:
            continue
        functions = []
        ability = peer.abilities
        while ability != NULL:
            functions.append(function_name(ability.function))
            ability = ability.peer_next
        found.append({
            "peer": peer.id,
            "fd": peer.fd,
            "address": peer.address.decode("utf-8", "replace"),
            "id": peer.name.decode("utf-8", "backslashreplace") if peer.name != NULL else "-",
            "functions": functions,
            "asleep": peer.flags & PEER_ASLEEP != 0,
            "held": peer.held,
            "closing": peer.flags & PEER_CLOSING != 0,
            "unsent": unsent(peer),
            "partial": unfinished(peer),
        })
    return found


cdef dict read_stats(Core* core):
    return {
        **core.stats,
        "jobs": core.job_count,
        "running": core.running_count,
        "delayed": core.delayed_count,
        "functions": core.function_count,
        "peers": core.peer_count,
        "blobs": core.blob_count,
        "blob_bytes": core.blob_bytes,
    }
