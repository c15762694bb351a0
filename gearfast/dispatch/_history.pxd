# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What a function has from its first job on. Its counters and histograms are kept where things happen."""

from libc.stdint cimport int64_t, uint64_t

from gearfast.dispatch._records cimport Function, History, Letter, Result

cdef extern from *:
    """
    #ifdef _MSC_VER
    #include <intrin.h>
    static int gearfast_bits(unsigned long long n) {
        unsigned long at;
        return _BitScanReverse64(&at, n) ? (int)at + 1 : 0;
    }
    #else
    static int gearfast_bits(unsigned long long n) { return n ? 64 - __builtin_clzll(n) : 0; }
    #endif
    """
    int bits "gearfast_bits"(uint64_t number) nogil

cdef enum:
    BUCKETS = 32

cdef History* history_new(Function* function) noexcept nogil


cdef inline History* history_of(Function* function) noexcept nogil:
    """Of a function that is about to have its first job, it may be; NULL without memory."""
    return function.history if function.history != NULL else history_new(function)


cdef inline Letter* first_letter(Function* function) noexcept nogil:
    """Its oldest dead letter, or NULL."""
    return function.history.first_letter if function.history != NULL else NULL


cdef inline Result* first_result(Function* function) noexcept nogil:
    """The oldest result of its jobs, or NULL."""
    return function.history.first_result if function.history != NULL else NULL


cdef inline void history_time(uint64_t* buckets, uint64_t* total, int64_t ns) noexcept nogil:
    """Count a time of `ns` in a histogram with a bucket for each power of two of microseconds."""
    cdef int bucket
    if ns < 0:
        ns = 0
    bucket = bits(<uint64_t>ns // 1000)
    total[0] += <uint64_t>ns
    buckets[bucket if bucket < BUCKETS else BUCKETS - 1] += 1
