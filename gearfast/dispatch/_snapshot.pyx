# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The dispatcher's state as Python objects, for embedded servers, tests and metrics."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from gearfast.dispatch._dead cimport reason_name
from gearfast.dispatch._history cimport BUCKETS, first_letter, first_result
from gearfast.dispatch._job cimport (
    HANDLE_ROOM,
    Walk,
    job_losses,
    job_is_absent,
    job_priority,
    job_slot,
    job_unique,
    job_waiting,
    job_worker,
    job_workload,
    walk_begin,
    walk_next,
    write_handle,
)
from gearfast.dispatch._peer cimport peer_unsent
from gearfast.dispatch._records cimport (
    JOB_BACKGROUND,
    JOB_DELAYED,
    JOB_IGNORED,
    JOB_RUNNING,
    PEER_ASLEEP,
    PEER_CLIENT,
    PEER_CLOSING,
    PEER_WORKER,
    REFUSALS,
    RESULT_DATA,
    Ability,
    Core,
    Function,
    History,
    Job,
    Letter,
    Peer,
    Remark,
    Result,
)
from gearfast.dispatch._result cimport outcome_name
from gearfast.dispatch._timers cimport timer_when

from gearfast import protocol

PRIORITIES = ("high", "normal", "low")
REFUSAL_NAMES = (
    "INVALID_MAGIC", "INVALID_COMMAND", "INVALID_ARGUMENT", "ARGUMENT_TOO_LARGE", "QUEUE_ERROR", "JOB_NOT_FOUND",
    "UNKNOWN_OPTION",
)
BOUNDS = [2**i / 1e6 for i in range(BUCKETS - 1)] + [float("inf")]     # seconds, each one not included

cdef enum:
    COMMANDS = 43
    LOOKED_AT = 100             # of the first jobs of a queue, to find the oldest


cdef str function_name(Function* function):
    return PyBytes_FromStringAndSize(function.name, function.size).decode("utf-8", "backslashreplace")


cdef object workload_of(Job* job):
    """None: it is in the store alone."""
    return None if job_is_absent(job) else PyBytes_FromStringAndSize(job_workload(job), job.size)


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
            "workload": workload_of(job),
            "priority": PRIORITIES[job_priority(job)],
            "background": job.flags & JOB_BACKGROUND != 0,
            "ignored": job.flags & JOB_IGNORED != 0,
            "running": job.flags & JOB_RUNNING != 0,
            "retries": job_losses(job),
            "clients": job_waiting(job),
            "numerator": job.numerator,
            "denominator": job.denominator,
            "due": timer_when(&core.schedule, job) / 1e9 if job.flags & JOB_DELAYED else 0.0,
            "worker": job_worker(core, job).id if job_slot(job) else None,
        })
    found.sort(key=lambda each: each["number"])
    return found


cdef list list_letters(Core* core):
    cdef Function* function = core.first_function
    cdef Letter* letter
    cdef list found = []
    while function != NULL:
        letter = first_letter(function)
        while letter != NULL:
            found.append(letter_dict(core, letter))
            letter = letter.next
        function = function.next
    return found


cdef dict letter_dict(Core* core, Letter* letter):
    cdef char handle[HANDLE_ROOM]
    cdef Job* job = letter.job
    cdef size_t size = write_handle(core, handle, job.number)
    cdef Remark* remark = letter.remark
    return {
        "number": job.number,
        "handle": PyBytes_FromStringAndSize(handle, size).decode("utf-8", "backslashreplace"),
        "function": function_name(job.function),
        "unique": PyBytes_FromStringAndSize(job_unique(job), job.unique_size),
        "tries": job_losses(job),
        "reason": reason_name(letter).decode(),
        "time": letter.when / 1e9,
        "priority": PRIORITIES[job_priority(job)],
        "workload": workload_of(job),
        "exception": PyBytes_FromStringAndSize(remark.data, remark.size) if remark != NULL else None,
    }


cdef list list_results(Core* core):
    cdef char handle[HANDLE_ROOM]
    cdef Function* function = core.first_function
    cdef Result* result
    cdef size_t size
    cdef list found = []
    while function != NULL:
        result = first_result(function)
        while result != NULL:
            size = write_handle(core, handle, result.number)
            found.append({
                "number": result.number,
                "handle": PyBytes_FromStringAndSize(handle, size).decode("utf-8", "backslashreplace"),
                "function": function_name(function),
                "unique": PyBytes_FromStringAndSize(result.unique, result.unique_size),
                "outcome": outcome_name(result).decode(),
                "size": result.size,
                "data": PyBytes_FromStringAndSize(result.data, result.size) if result.flags & RESULT_DATA else None,
                "numerator": result.numerator,
                "denominator": result.denominator,
                "time": result.when / 1e9,
            })
            result = result.next
        function = function.next
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
            "unsent": peer_unsent(peer),
            "partial": unfinished(peer),
        })
    return found


cdef uint64_t total(uint64_t* numbers, int count) noexcept:
    cdef uint64_t found = 0
    cdef int i
    for i in range(count):
        found += numbers[i]
    return found


cdef dict read_stats(Core* core):
    return {
        "submitted": core.stats.submitted,
        "coalesced": core.stats.coalesced,
        "completed": core.stats.completed,
        "failed": core.stats.failed,
        "exceptions": core.stats.exceptions,
        "requeued": core.stats.requeued,
        "dropped": core.stats.dropped,
        "connected": core.stats.connected,
        "errors": total(core.stats.errors, REFUSALS),
        "packets": total(core.stats.commands, COMMANDS),
        "jobs": core.job_count,
        "running": core.running_count,
        "delayed": core.delayed_count,
        "functions": core.function_count,
        "peers": core.peer_count,
        "blobs": core.blob_count,
        "blob_bytes": core.blob_bytes,
    }


# Metrics

cdef dict read_metrics(Core* core):
    """See Dispatcher.metrics."""
    cdef Function* function = core.first_function
    cdef dict functions = {}
    while function != NULL:
        functions[function_name(function)] = function_metrics(core, function)
        function = function.next
    return {"bounds": list(BOUNDS), "server": server_metrics(core), "functions": functions}


cdef dict server_metrics(Core* core):
    cdef int i
    cdef dict roles = {"client": 0, "worker": 0, "both": 0, "silent": 0}
    cdef Peer* peer
    cdef size_t slot
    for slot in range(core.slot_count):
        peer = core.slots[slot].peer
        if peer == NULL:
            continue
        if peer.flags & PEER_CLIENT:
            roles["both" if peer.flags & PEER_WORKER else "client"] += 1
        else:
            roles["worker" if peer.flags & PEER_WORKER else "silent"] += 1
    return {
        "connections": roles,
        "connected": core.stats.connected,
        "received_bytes": core.stats.received,
        "answered_bytes": core.stats.answered,
        "commands": {
            protocol.Command(i).name: core.stats.commands[i] for i in range(COMMANDS) if core.stats.commands[i]
        },
        "text_commands": core.stats.lines,
        "errors": {REFUSAL_NAMES[i]: core.stats.errors[i] for i in range(REFUSALS)},
        "bad_bytes": core.stats.faults,
        "overflows": core.stats.overflows,
        "jobs": core.job_count,
        "running": core.running_count,
        "delayed": core.delayed_count,
        "dead": core.letters.count,
        "results": core.results.count,
        "waiting_requests": core.waiter_count,
        "queued_bytes": core.queued_bytes,
        "max_queued": core.max_queued,
        "absent": core.far.absent if core.far != NULL else 0,
        "absent_bytes": core.far.absent_bytes if core.far != NULL else 0,
        "fetched": core.far.fetched if core.far != NULL else 0,
    }


cdef dict function_metrics(Core* core, Function* function):
    cdef History nothing
    cdef History* history = function.history
    cdef int64_t oldest = core.now
    cdef int i
    for i in range(3):
        oldest = min(oldest, oldest_of(function.queues[i].head, core.now))
    if history == NULL:
        memset(&nothing, 0, sizeof(History))
        history = &nothing
    return {
        "submitted": history.submitted,
        "coalesced": history.coalesced,
        "refused": history.refused,
        "completed": history.completed,
        "failed": history.failed,
        "exceptions": history.exceptions,
        "dropped": history.dropped,
        "requeued": history.requeued,
        "timeouts": history.timeouts,
        "queued": {PRIORITIES[i]: function.queued[i] for i in range(3)},
        "dead": history.letters,
        "results": history.results,
        "running": function.running,
        "workers": function.workers,
        "oldest_seconds": (core.now - oldest) / 1e9,
        "waiting": histogram(history.waiting, history.waiting_ns),
        "processing": histogram(history.running, history.running_ns),
    }


cdef int64_t oldest_of(Job* job, int64_t oldest) noexcept:
    """Since when the oldest job of a queue has waited.

    That is not always the first one: jobs of a later time join at the place of their submission, and those that
    nobody wants any more do not wait. More than a few of both are not looked through.
    """
    cdef int left = LOOKED_AT
    while job != NULL and left:
        if not job.flags & JOB_IGNORED:
            oldest = min(oldest, job.since)
        job = job.next
        left -= 1
    return oldest


cdef dict histogram(uint64_t* buckets, uint64_t ns):
    cdef int i
    return {"counts": [buckets[i] for i in range(BUCKETS)], "seconds": ns / 1e9}
