# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""How a job ends: finished, failed, cancelled, dropped, or wanted by nobody any more."""

from gearfast.dispatch._records cimport Core, Function, Job

cdef void leave_worker(Core* core, Job* job) noexcept nogil
cdef void drop(Core* core, Job* job) noexcept nogil
cdef void end_failed(Core* core, Job* job, int reason) noexcept nogil
cdef void fail(Core* core, Job* job, int reason) noexcept nogil
cdef void drop_failed(Core* core, Job* job) noexcept nogil
cdef void drop_function(Core* core, Function* function) noexcept nogil
cdef void finish(Core* core, Job* job) noexcept nogil
cdef void fail_waiters(Core* core, Job* job) noexcept nogil
cdef void cancel(Core* core, Job* job) noexcept nogil
cdef void abandon(Core* core, Job* job) noexcept nogil
cdef void ignore(Core* core, Job* job) noexcept nogil
