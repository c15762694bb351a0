# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Worker connections of the load generator."""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport realloc
from libc.string cimport memchr, memcpy

from gearfast.bench._load cimport (
    ECHO_REQ, ECHO_RES, ERROR, JOB_ASSIGN, JOB_ASSIGN_ALL, JOB_ASSIGN_UNIQ, NO_JOB, NOOP, OPTION_REQ, OPTION_RES,
    PRE_SLEEP, WORK_COMPLETE, Conn, Load,
)


cdef class Workers(Load):
    """Worker connections that hold up to `grabs` GRAB_JOBs each and complete a job with the head of its workload.

    functions: how many functions each connection registers: `PREFIX-0`, `PREFIX-1` and so on. grab: the command, 9, 30
    or 39. answer: bytes of a result, 0: the whole workload. credits: asks for the option `all_yours`.
    """

    cdef uint32_t grabs
    cdef uint32_t grab
    cdef size_t answer
    cdef bint credits
    cdef bint paused
    cdef bint limited             # only so many GRABs are sent as are left
    cdef int64_t left
    cdef int sleeping
    cdef int fenced
    cdef int64_t finished
    cdef int64_t target

    def __init__(self, sockets, int control=-1, *, uint32_t grabs=1, uint32_t grab=9, size_t answer=0,
                 int functions=1, bytes prefix=b"bench", bint credits=False):
        self.grabs, self.grab, self.answer, self.credits = grabs, grab, answer, credits
        names = [b"%s-%d" % (prefix, number) for number in range(functions)]
        body = b"".join(b"\0REQ" + (1).to_bytes(4, "big") + len(name).to_bytes(4, "big") + name for name in names)
        if credits:
            body += b"\0REQ" + int(OPTION_REQ).to_bytes(4, "big") + (9).to_bytes(4, "big") + b"all_yours"
        for index in range(self.count):
            self._append(&self.conns[index], body)
            if not credits:
                self._sleep(&self.conns[index])
            self._flush(&self.conns[index])

    cdef _append(self, Conn* c, bytes data):
        cdef size_t need = c.filled + len(data)
        if need > c.out_room:
            c.out_room = 2 * need
            c.out = <char*>realloc(c.out, c.out_room)
        memcpy(c.out + c.filled, <const char*>data, len(data))
        c.filled = need

    cdef void _sleep(self, Conn* c) noexcept nogil:
        self._request(c, PRE_SLEEP)
        c.asleep = True
        self.sleeping += 1

    cdef void _wake(self, Conn* c) noexcept nogil:
        if self.limited and self.left == 0:
            c.woken = True
            return
        if c.asleep:
            c.asleep = False
            self.sleeping -= 1
        while c.grabs < self.grabs and self._may_grab():
            self._request(c, self.grab)
            c.grabs += 1

    cdef bint _may_grab(self) noexcept nogil:
        if self.limited:
            if self.left == 0:
                return False
            self.left -= 1
        return True

    cdef void _complete(self, Conn* c, uint32_t command, const char* body, size_t size) noexcept nogil:
        """JOB_ASSIGN: handle NUL function NUL [unique NUL [reducer NUL]] workload."""
        cdef const char* end = body + size
        cdef const char* data = body
        cdef size_t handle = 0
        cdef size_t length
        cdef int skip = 2 + (command >= JOB_ASSIGN_UNIQ) + (command == JOB_ASSIGN_ALL)
        cdef char* at
        while skip:
            data = <const char*>memchr(data, 0, end - data)
            if data == NULL:
                self._fail(b"a broken JOB_ASSIGN")
                return
            data += 1
            if handle == 0:
                handle = data - body
            skip -= 1
        length = end - data
        if self.answer and length > self.answer:
            length = self.answer
        at = self._room(c, 0x00524551, WORK_COMPLETE, handle + length)
        memcpy(at, body, handle)
        memcpy(at + handle, data, length)
        self.finished += 1
        if self._may_grab():
            self._request(c, self.grab)
            return
        c.grabs -= 1
        if c.grabs == 0:            # it waits as one that was paused
            c.asleep = c.woken = True
            self.sleeping += 1

    cdef void _packet(self, Conn* c, uint32_t command, const char* body, size_t size) noexcept nogil:
        if command == JOB_ASSIGN or command == JOB_ASSIGN_UNIQ or command == JOB_ASSIGN_ALL:
            self._complete(c, command, body, size)
        elif command == NO_JOB:
            c.grabs -= 1
            self.left += self.limited
            if c.grabs == 0:
                self._sleep(c)
        elif command == NOOP:
            if self.paused:
                c.woken = True
            elif c.asleep:
                self._wake(c)
        elif command == ECHO_RES:
            c.fenced = True
            self.fenced += 1
        elif command == OPTION_RES:
            c.credits = True
            self._wake(c)
        elif command == ERROR:
            if self.credits and not c.credits:
                self._fail(b"this server does not know the option all_yours")
            else:
                self._error(body, size)

    cdef void _settle(self) noexcept nogil:
        """Until `target` jobs are finished and every connection sleeps or only holds credits."""
        while not self.problem[0] and not self.called:
            if self.finished >= self.target and (self.credits or self.sleeping == self.count):
                return
            self._turn()

    cdef void _fence(self) noexcept nogil:
        """Until the server has answered an ECHO on each connection: all that was sent before is done then."""
        cdef int index
        self.fenced = 0
        for index in range(self.count):
            self._room(&self.conns[index], 0x00524551, ECHO_REQ, 0)
            self._flush(&self.conns[index])
        while not self.problem[0] and not self.called and self.fenced < self.count:
            self._turn()

    def fence(self):
        """Waits until the server has done all that was sent so far. Raises RuntimeError as `settle` does."""
        self.called = False
        with nogil:
            self._fence()
        self._check()

    def serve(self):
        """Works until the control descriptor is readable. Raises RuntimeError as `settle` does."""
        self.called = False
        with nogil:
            while not self.problem[0] and not self.called:
                self._turn(-1)
        self._check()

    def settle(self, int64_t target):
        """Works until `target` jobs in total are finished, all is asleep and the server has done the last of it.

        Returns the number of finished jobs. Raises RuntimeError on a lost connection, an ERROR, or when nothing
        happens for 30 s.
        """
        self.called = False
        self.target = target
        with nogil:
            self._settle()
            self._fence()
        self._check()
        return self.finished

    def pause(self):
        """Leaves the next NOOPs unanswered, so that jobs queue up."""
        self.paused = True

    def take(self, int64_t jobs):
        """Of paused workers: finishes so many queued jobs and not one more, and pauses again.

        Returns the number of finished jobs in total. Raises RuntimeError as `settle` does.
        """
        cdef int64_t target = self.finished + jobs
        self.called = False
        self.limited = True
        self.left = jobs
        self._restart()
        with nogil:
            while not self.problem[0] and not self.called and self.finished < target:
                self._turn()
            self.paused = True
            self._fence()
        self._check()
        return self.finished

    def resume(self):
        """Answers what `pause` or `take` left unanswered."""
        self.limited = False
        self._restart()

    cdef _restart(self):
        cdef int index
        self.paused = False
        for index in range(self.count):
            if self.conns[index].woken:
                self.conns[index].woken = False
                self._wake(&self.conns[index])
                self._flush(&self.conns[index])

    @property
    def finished_jobs(self):
        """Jobs completed since the start."""
        return self.finished
