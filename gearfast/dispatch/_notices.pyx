# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What a log should tell. The dispatcher does not log: it keeps lines in a ring until the driver fetches them, and
counts those for which there was no room. A part of the ring is for jobs that are dropped: nothing else tells of those.
"""

from libc.string cimport memcpy, strlen

from gearfast.dispatch._job cimport HANDLE_ROOM, job_unique, write_handle
from gearfast.dispatch._records cimport Core, Job, Notice

cdef enum:
    NOTICES = 128
    CHATTER = 64                # of them, for all that is no dropped job
    TEXT = 190


cdef void note(Core* core, Level level, const char* text, size_t size) noexcept nogil:
    cdef Notice* notice
    if core.notice_count >= (NOTICES if level == LEVEL_NOTICE else CHATTER):
        core.notices_lost += 1
        core.drops_lost += level == LEVEL_NOTICE
        return
    notice = &core.notices[core.notice_count]
    core.notice_count += 1
    notice.level = <unsigned char>level
    notice.size = <unsigned char>(size if size < TEXT else TEXT)
    memcpy(notice.text, text, notice.size)


cdef void note_job(Core* core, Level level, const char* text, Job* job) noexcept nogil:
    """`text`, the job's handle and its unique."""
    cdef char line[TEXT + HANDLE_ROOM]
    cdef size_t size = strlen(text)
    memcpy(line, text, size)
    size += write_handle(core, line + size, job.number)
    line[size] = c' '
    memcpy(line + size + 1, job_unique(job), job.unique_size)
    note(core, level, line, size + 1 + job.unique_size)
