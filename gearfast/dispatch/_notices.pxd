# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What a log should tell, kept until the driver fetches it."""

from gearfast.dispatch._records cimport Core, Job

cdef enum Level:
    LEVEL_WARNING = 0
    LEVEL_NOTICE = 1            # a job is dropped
    LEVEL_INFO = 2

cdef void note(Core* core, Level level, const char* text, size_t size) noexcept nogil
cdef void note_job(Core* core, Level level, const char* text, Job* job) noexcept nogil
