# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What cannot be answered before all jobs are back from the store: a submission that may have to join one of them, and
the question for a job that is not known, or for its result. All else is served from the start.
"""

from libc.string cimport memchr

from gearfast._codec cimport (
    CMD_GET_STATUS,
    CMD_GET_STATUS_UNIQUE,
    CMD_SUBMIT_JOB,
    CMD_SUBMIT_JOB_BG,
    CMD_SUBMIT_JOB_EPOCH,
    CMD_SUBMIT_JOB_HIGH,
    CMD_SUBMIT_JOB_HIGH_BG,
    CMD_SUBMIT_JOB_LOW,
    CMD_SUBMIT_JOB_LOW_BG,
    CMD_SUBMIT_JOB_SCHED,
    CMD_SUBMIT_REDUCE_JOB,
    CMD_SUBMIT_REDUCE_JOB_BACKGROUND,
    Field,
    Frame,
)
from gearfast.dispatch._ask cimport is_answerable, is_reserved
from gearfast.dispatch._function cimport function_find
from gearfast.dispatch._job cimport is_dash, job_by_handle
from gearfast.dispatch._records cimport Core, Function
from gearfast.dispatch._submit cimport job_by_unique, job_for

cdef bint submits(int command) noexcept nogil:
    return (
        command == CMD_SUBMIT_JOB or command == CMD_SUBMIT_JOB_BG or command == CMD_SUBMIT_JOB_HIGH
        or command == CMD_SUBMIT_JOB_HIGH_BG or command == CMD_SUBMIT_JOB_LOW or command == CMD_SUBMIT_JOB_LOW_BG
        or command == CMD_SUBMIT_JOB_EPOCH or command == CMD_SUBMIT_JOB_SCHED or command == CMD_SUBMIT_REDUCE_JOB
        or command == CMD_SUBMIT_REDUCE_JOB_BACKGROUND
    )


cdef bint may_join(Core* core, Frame* frame) noexcept nogil:
    """Whether this submission has a unique of which no job is known."""
    cdef Field unique = frame.args[1]
    cdef Field key = frame.args[frame.count - 1] if is_dash(unique.data, unique.size) else unique
    cdef Function* function
    if unique.size == 0 or key.size == 0:
        return False
    function = function_find(core, frame.args[0].data, frame.args[0].size)
    return function == NULL or job_for(core, function, unique, key) == NULL


cdef bint must_wait(Core* core, Frame* frame) noexcept nogil:
    """Whether the answer depends on what may still be in the store."""
    cdef Field key
    cdef const char* nul
    if submits(frame.command) and is_reserved(frame.args[0]):
        return not is_answerable(core, frame.args[frame.count - 1])
    if submits(frame.command):
        return may_join(core, frame)
    if frame.command != CMD_GET_STATUS and frame.command != CMD_GET_STATUS_UNIQUE:
        return False
    key = frame.args[0]
    nul = <const char*>memchr(key.data, 0, key.size)
    if nul != NULL:
        key.size = nul - key.data
    if frame.command == CMD_GET_STATUS:
        return job_by_handle(core, key.data, key.size) == NULL
    return job_by_unique(core, key.data, key.size) == NULL
