# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Every record of the dispatcher and who points at whom. The modules beside this one each own one of them.

    Core ── functions ─▶ Function ── queues[3] ─▶ Job ── waiters ─▶ Waiter ─▶ Peer (a client)
      │                     └──── able[6] ─▶ Ability ─▶ Peer (a worker) ── jobs ─▶ Job (running)
      │                     ├──── policy ─▶ Policy (of those functions that have one)
      │                     ├──── rota ─▶ Rota ── lines[2] ─▶ Ability (where its policy has weights or a dispatch)
      │                     ├──── first_letter ─▶ Letter ─▶ Job (that failed for good: in nothing else)
      │                     └──── first_result ─▶ Result (of a job that has ended)
      ├── letters ─▶ Letter    remarks ─▶ Remark (of jobs that are tried again)
      ├── results, result_keys ─▶ Result
      ├── handles ─▶ Job (all)    uniques ─▶ Job (with a unique)    timeouts, schedule, expiries ─▶ Job
      ├── slots ─▶ Peer ── holds: output that waits for a commit
      ├── journal ─▶ Batch (gathering), Batch (on its way to the store)
      └── far ─▶ Absence ─▶ Function: jobs whose workloads are in the store alone

Jobs, waiters, functions, abilities and peers lie in slabs, all else comes from malloc. A record knows its place in
each list that it is in, so leaving one costs no search.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef struct Core
cdef struct Job
cdef struct Waiter
cdef struct Function
cdef struct Policy
cdef struct Rota
cdef struct Letter
cdef struct Remark
cdef struct Result
cdef struct History
cdef struct Ability
cdef struct Peer
cdef struct Node
cdef struct Slab
cdef struct Blob
cdef struct Journal
cdef struct Holds
cdef struct Far
cdef struct Absence

cdef enum:
    HIGH = 0                # the order of a function's queues
    NORMAL = 1
    LOW = 2
    PRIORITIES = 3

cdef enum:
    HELD = 4                    # an Ability's level: as 0, of a worker that has (or had) GRABs held
    IN_LINE = 5                 # as 0, of a worker that sleeps, where a function wakes one at a time
    LEVELS = 6

cdef enum Dispatch:             # to which of several waiting workers a job goes
    DISPATCH_ANY = 0
    DISPATCH_ROUND_ROBIN = 1
    DISPATCH_LEAST_LOADED = 2

cdef enum JobFlag:
    JOB_BACKGROUND = 1      # wanted by somebody who does not wait
    JOB_IGNORED = 2         # wanted by nobody: dropped when it is met
    JOB_CANCELLED = 4       # ignored, and unknown to whoever asks
    JOB_HAS_REDUCER = 8
    JOB_PRIORITY = 48       # two bits for its queue, see job_priority
    JOB_DELAYED = 64        # waits for its time, in its function's `delayed`
    JOB_RUNNING = 128       # in its worker's list; neither of the two: in its function's queue
    JOB_STATE = 192         # both

cdef enum:
    DURABLE = 0x8000        # of Job.losses: in the store, or in a batch that goes there
    MOST_LOSSES = 0x7FFF    # where counting them ends

cdef enum:
    APART = 0x40000000      # of Job.worker: its workload, a small one, lies in a cell of its own
    ABSENT = 0x20000000     # its workload is in the store alone
    CLAIMED = 0x10000000    # its unique is claimed in a store that servers share, or is to be
    SLOT = 0x0FFFFFFF       # the rest

cdef enum:
    FENCE_LOST = 0xFFFFFFFFFFFFFFFF     # of Peer.fence: that it ended will never be told, as it is another server's

cdef enum Reason:               # why a job failed for good
    REASON_LOST = 0
    REASON_TIMEOUT = 1
    REASON_FAILED = 2
    REASON_EXPIRED = 3
    REASON_FULL = 4
    REASONS = 5
    OUTCOME_DONE = 5            # of a Result, which has one of the above otherwise
    OUTCOME_CANCELLED = 6
    OUTCOMES = 7

cdef enum PeerFlag:
    PEER_ASLEEP = 1         # sent PRE_SLEEP since its last GRAB
    PEER_NOTICED = 2        # had a NOOP since then
    PEER_EXCEPTIONS = 4     # option "exceptions"
    PEER_ALL_YOURS = 8      # option "all_yours": a GRAB that finds no job is held
    PEER_DIRTY = 16         # in Core.dirty
    PEER_CLOSING = 32       # to be closed once its output is sent; takes no more input
    PEER_GONE = 64          # disconnected; freed when it leaves Core.dirty
    PEER_ADMIN = 128        # may use every admin command, shutdown included
    PEER_READ_ONLY = 256    # may not use admin commands that change things
    PEER_OVERFLOW = 512     # had more output than is allowed: gets none any more
    PEER_CLIENT = 1024      # has submitted jobs
    PEER_WORKER = 2048      # has registered functions
    PEER_PENDING = 4096     # in Core.pending: has whole frames that wait for the next tick
    PEER_FULL = 8192        # has whole frames that wait until it takes its output
    PEER_HOLDING = 16384    # has output that waits for a commit: `holds`
    PEER_LINES = 32768      # has registered functions that wake one worker at a time

cdef enum Order:
    ORDER_PRIORITY = 0          # priority first over all functions, then rotation (gearmand 2.x)
    ORDER_FUNCTION = 1          # newest registration first (gearmand 1.1.20)
    ORDER_FUNCTION_ROTATE = 2   # the same, with rotation (1.1.20 -R)

cdef struct Node:               # a link of an Index; first member of what is indexed, or found by its offset
    Node* next                  # the last one has its bucket's address, with bit 0 set

ctypedef uint64_t (*HashOf)(void* context, Node* node) noexcept nogil

cdef struct Index:              # hash table that grows and shrinks a few buckets at a time
    Node** slots
    Node** old                  # the table being emptied, or NULL
    size_t mask
    size_t old_mask
    size_t cursor               # buckets of `old` below this are moved
    size_t count
    size_t full                 # nodes a bucket, on average, that are the most: buckets are memory too
    HashOf hash_of              # of a node; nodes do not keep theirs, it is wanted only when they move
    void* context

cdef struct Pool:               # spare blocks for buffers, listed here and not in themselves: they are out of the cache
    size_t count
    char* blocks[1024]

cdef struct Buffer:
    char* data
    size_t begin
    size_t end
    size_t room

cdef struct Blob:               # large data that several may hold
    Blob* next                  # in Core.spare_blobs
    size_t references           # of jobs, of parts of output, of the peer that receives into it
    size_t begin                # while a peer receives into it: what was not dispatched yet
    size_t end
    size_t room
    char data[1]

cdef struct Large:              # in a job, in place of a workload that lies in a blob
    Blob* blob
    const char* data

cdef struct Part:               # of a peer's output
    Blob* blob
    const char* data
    size_t size
    size_t before               # bytes of Peer.out that are sent after the part before it and before this one

cdef struct Parts:
    size_t first
    size_t count
    size_t room
    size_t before               # sum of those of all parts
    Part list[1]

cdef struct Entry:
    int64_t key
    void* item

cdef struct Heap:
    Entry* entries
    uint32_t count
    uint32_t room

cdef struct Slab:               # the beginning of a slab; its cells follow
    Slab* prev                  # among those of its size that have free cells
    Slab* next
    void* spare                 # cells that came back
    uint32_t cell               # bytes of one
    uint32_t fresh              # where the cells begin that were never used
    uint32_t used               # cells in use

cdef struct Slabs:
    Slab* open[81]              # with free cells, by eighths of their size
    Slab* spare                 # empty ones
    size_t spare_count
    size_t count                # of all

# One cell: a Job, [Node, unique, [hash of the workload if it is "-"]], [size of reducer, reducer], and the workload, or
# a Large, or (APART) where it lies.
cdef struct Job:
    uint64_t number             # of its handle
    Function* function
    Job* prev                   # in its queue, or in its worker's list
    Job* next
    Waiter* waiters             # the first one counts them
    int64_t since               # when it was queued or given out, monotonic ns
    uint32_t worker             # 1 + its worker's slot, 0 unless running; and APART, ABSENT, CLAIMED
    uint32_t size               # bytes of workload
    uint32_t numerator
    uint32_t denominator
    uint32_t timer              # place in the heap of due times, of time-outs, or (queued) of expiries; 0 none
    uint16_t losses             # how often it was lost with its worker or failed, and DURABLE
    uint8_t unique_size
    uint8_t flags               # of JobFlag

cdef struct Waiter:             # one foreground request
    Peer* peer
    Job* job
    Waiter* job_prev
    Waiter* job_next
    Waiter* peer_prev
    Waiter* peer_next
    uint32_t count              # of those of its job, up to date in the first one only

cdef struct Queue:
    Job* head
    Job* tail

cdef struct Ability:            # one registration of a function by a worker
    Node node                   # in Core.abilities
    Peer* peer
    Function* function
    Ability* able_prev          # in its function's list for its level; the first one's is the last one
    Ability* able_next
    Ability* peer_prev          # in its worker's list, newest first
    Ability* peer_next
    int64_t place               # 8 times its place in the worker's rotation (the smallest is next), plus its level
    float timeout               # ms, 0 none; a float reaches far in four bytes and is exact up to 4.6 hours
    uint32_t spot               # place in its worker's heap for its level, or in its function's line; 0 none
    int64_t turn                # of its last job, or of its registration: see Rota

cdef struct Function:
    Node node                   # in Core.functions
    uint64_t hash               # of its name
    Function* prev              # all functions, oldest first
    Function* next
    Queue queues[3]             # runnable jobs by priority
    Ability* able[6]            # registrations by level: the first of each list
    uint32_t queued[3]          # jobs by priority, delayed ones included
    uint32_t total              # jobs queued, delayed, running
    uint32_t running
    uint32_t workers            # registrations
    uint32_t limit[3]           # most jobs for a submission with that priority, 0 none
    uint32_t size               # of name
    History* history            # NULL until it has had a job
    Policy* policy              # NULL: none
    Rota* rota                  # NULL: no weights, and any worker gets a job
    Absence* absence            # NULL until one of its jobs is absent
    char name[1]

cdef struct Policy:             # what functions are allowed, as policy.py says; times in ns, 0 stands for no limit
    Policy* next                # in Core.policies
    size_t functions            # that have it
    int64_t timeout             # what follows is the same in no two of them
    int64_t backoff
    int64_t backoff_max
    int64_t expire
    int64_t interval            # between two jobs
    int64_t slack               # by which jobs may come before their interval: a burst
    int64_t keep_for            # how long a dead letter is kept
    int64_t results_for         # how long a result is kept
    uint32_t queue[3]           # most queued jobs by priority
    uint32_t concurrency
    uint32_t keep               # most dead letters of a function, 0: there come none
    uint32_t results            # most results of a function, 0: there come none
    uint32_t result_size        # most bytes of a result
    int32_t tries               # -1 no limit
    uint8_t exponential
    uint8_t jitter
    uint8_t retry_on_fail
    uint8_t drop_oldest
    uint8_t dispatch
    uint16_t weights[3]         # by priority; all are 0, or none

cdef struct Rota:               # whose turn it is: of a function whose policy has weights or a dispatch
    Function* function
    int32_t credit[3]           # by priority: the turns that are due to it, in parts of the sum of all weights
    uint16_t weights[3]
    uint8_t dispatch
    uint32_t timer              # place in the heap of functions for which other workers may have to be woken, else 0
    int64_t turn                # of the job that was given out last
    Heap lines[2]               # registrations by turn where there is a dispatch: those HELD, those IN_LINE

cdef struct Remark:             # the last exception of a job that failed
    Node node                   # in Core.remarks, until its job is a dead letter
    uint64_t number             # of its job
    uint32_t size
    char data[1]

cdef struct Letter:             # a dead letter: a job that failed for good, kept for who wants to look at it
    Node node                   # in Core.letters
    Job* job                    # in no list and no table; its losses are its tries
    Letter* prev                # in its function's list
    Letter* next
    Remark* remark              # NULL: no worker sent an exception
    int64_t when                # it failed, wall ns
    uint32_t timer              # place in the heap of those that are not kept for ever, else 0
    uint8_t reason

cdef enum ResultFlag:
    RESULT_DURABLE = 1          # in the store, or in a batch that goes there
    RESULT_DATA = 2             # it has its data: that of WORK_COMPLETE or, of a job that failed, of WORK_EXCEPTION

cdef struct Result:             # what became of a background job, kept for who asks for it
    Node node                   # in Core.results
    Node key                    # in Core.result_keys, if its job had a unique other than `-`
    uint64_t number             # of its job
    Function* function
    Result* prev                # in its function's list
    Result* next
    Blob* blob                  # where its data lies if that is large
    const char* data            # there, or behind the unique
    int64_t when                # its job ended, wall ns
    uint32_t size               # bytes that its worker sent, kept or not
    uint32_t numerator          # the last that its worker said
    uint32_t denominator
    uint32_t timer              # place in the heap of those that are not kept for ever, else 0
    uint8_t outcome             # a Reason, or OUTCOME_DONE, OUTCOME_CANCELLED
    uint8_t flags               # of ResultFlag
    uint8_t unique_size
    char unique[1]

# With a thousand connections every line of 64 bytes of a record is a miss of the cache: what a turn needs comes first.
cdef struct Peer:               # one connection: client, worker or both
    # what is needed to write and to send
    uint64_t id                 # generation and slot, as Python sees it
    int fd                      # for lists, and for the reactor; -1 if there is none
    uint32_t interest           # the reactor's
    uint32_t flags
    uint32_t held               # GRABs to be answered by the next jobs
    Buffer out
    size_t referenced           # bytes of blobs between the bytes of `out`
    # to receive
    Parts* parts                # those blobs, or NULL
    Blob* large                 # an unfinished frame, if it is large; `partial` is then empty
    size_t expected             # about what the next large frame will have, 0 if there was none lately
    size_t whole                # bytes that a large unfinished frame will have, else 0
    Buffer partial              # an unfinished frame
    # to dispatch
    Ability* abilities
    Job* jobs                   # running here, last grabbed first
    Waiter* waiters
    uint64_t held_kinds         # forms of the first 32 held GRABs, two bits each; the others count as held_kind
    size_t wanted               # bytes of an unfinished frame that make the next try worth while
    uint32_t ability_count
    uint32_t running            # jobs in `jobs`
    uint8_t held_kind           # form of the last held GRAB
    uint8_t quiet               # how often input came since the last large frame
    int64_t last_place          # of the last rotation
    # rarely needed, or by workers of several functions alone
    Heap ready[4]               # abilities by level, if there are two at least; none of level 0
    char* name                  # client id, or NULL
    char* address
    Peer* pending_prev
    Peer* pending_next
    int64_t stalled             # the reactor's: since when no output was taken, 0 if none waits
    Holds* holds                # output that waits for a commit, or NULL
    uint64_t fence              # the batch that tells of the last durable job that ended here, 0 none; or FENCE_LOST
    int64_t first_place         # of the newest registration; with it these are whole lines, as where its cell begins

cdef struct Hold:               # where output begins that waits for a commit
    uint64_t batch              # which one
    size_t before               # bytes of output after the hold before it and before this one

cdef struct Holds:              # of a peer, in the order of its output and of the batches
    size_t first
    size_t count
    size_t room
    size_t before               # sum of those of all holds
    Hold list[1]

cdef struct Bytes:              # that grow
    char* data
    size_t size
    size_t room

cdef struct Added:              # where a job's record begins in its batch
    uint64_t number
    size_t at

cdef struct Change:             # of a job in the store: its latest state
    uint64_t number
    int64_t due                 # wall ns, 0: at once
    uint32_t losses
    uint32_t fill

cdef struct Batch:              # what is committed at once
    uint64_t number
    Bytes records               # of jobs, in the order in which they became durable
    Bytes index                 # of Added, by rising numbers: those records that `late` does not count
    Bytes late                  # of Added: of jobs that were there long before they became durable, and of `replaced`
    Bytes replaced              # numbers of jobs whose earlier records do not hold any more
    Bytes changes               # of Change
    Bytes done                  # numbers of jobs that have ended
    Bytes holders               # numbers of the peers with output that waits for this batch
    Bytes freed                 # of claims that end: a Freed, then function and unique
    Bytes asked                 # uniques that other servers may know: the size of each in one byte, then itself
    size_t claims               # records of jobs that claim their unique
    size_t dead                 # records of jobs that ended in the meantime
    size_t dead_bytes
    uint8_t wanted              # the driver has something to go with it, even if it is empty

cdef struct Freed:              # of a job whose claim ends; not aligned
    uint64_t number
    uint32_t function           # bytes of its name
    uint32_t unique

cdef struct Verdict:            # of a batch: what the store knew of other servers' jobs; numbers of 8 bytes each
    const uint64_t* taken       # jobs whose unique another one has, rising
    const uint64_t* winners     # whose, in the same order
    size_t taken_count
    const uint64_t* known       # hashes of uniques that are another server's, rising
    size_t known_count

cdef struct Journal:
    Batch* gathering
    Batch* committing           # handed to the driver, or NULL
    Batch* spare                # an empty one, or NULL while one is committed
    uint8_t relaxed             # nothing waits for commits
    uint8_t claims              # several servers have the store: uniques are claimed there
    uint8_t refusing            # the store is away: no job becomes durable, so submissions are refused
    uint8_t lapsed              # `lease_until` is over: no durable job is given out, and none becomes durable
    Verdict* verdict            # while a batch is settled, or NULL
    int64_t lease_until         # up to when durable jobs are this server's, monotonic ns; 0: without an end
    uint64_t jobs               # that are durable
    uint64_t added              # jobs that became durable, ever
    uint64_t ended              # durable jobs that ended
    uint64_t spared             # of them, those that never had to be stored
    uint64_t unkept             # ends that could not be kept for want of memory: those jobs may be done again

cdef struct Far:                # what keeps queues that are larger than memory; see _absent.pyx
    size_t ceiling              # bytes that all jobs may take in memory
    size_t absent               # jobs that are absent
    size_t absent_bytes         # of their workloads
    size_t freed                # bytes that were given back since malloc was last asked to return them
    uint64_t fetched            # workloads that came back, ever
    uint64_t lost               # that never will: their records cannot be read
    size_t functions            # that have, or had, absent jobs
    Absence* first              # the same, those that were looked at longest ago first
    Absence* last
    Function* next              # where the next sweep begins, NULL: with the first function
    Bytes letters               # numbers of jobs that became dead letters while they were absent
    uint8_t hungry              # some queue may need workloads
    uint8_t told                # a log was told that workloads leave memory
    uint8_t asking              # the driver was told which, and has not brought all of them yet

cdef struct Absence:            # of a function
    Far* far
    Function* function
    Absence* prev
    Absence* next
    size_t absent               # its jobs in queues whose workloads are absent
    Job* swept[4]               # the last job of each queue, `delayed` the last, that a sweep has looked at
    size_t ahead[4]             # at least so many jobs are before it
    size_t kept[4]              # so many at the head were left alone when a sweep began there
    uint32_t near[3]            # of each other queue, how many jobs from its head on are certainly present
    uint32_t low[3]             # where that is so few that it is hungry
    uint8_t blocked             # a job that was to be given out was absent: nothing is until the driver has been asked

cdef struct PeerSlot:
    Peer* peer
    uint32_t generation
    uint32_t next_free

cdef struct HandlePage:
    Node node
    uint64_t key                # the numbers of its jobs without their last six bits
    uint32_t used
    Job* jobs[64]

cdef struct Handles:
    Index pages
    HandlePage* last            # the page used last
    HandlePage* newest          # the page of the newest job; stays when it is empty
    uint64_t spelled            # 10,000ths of the number that was written last, 0 none
    size_t spelled_size
    char spelling[96]           # a handle without its last four digits, for those of that ten thousand

cdef struct Notice:
    uint8_t level
    uint8_t size
    char text[190]

cdef struct Stats:
    uint64_t submitted
    uint64_t coalesced
    uint64_t completed
    uint64_t failed
    uint64_t exceptions
    uint64_t requeued
    uint64_t dropped
    uint64_t connected
    uint64_t received           # bytes
    uint64_t answered           # bytes, sent or not
    uint64_t commands[43]       # packets by command
    uint64_t lines              # text commands
    uint64_t errors[7]          # by Refusal
    uint64_t faults             # connections closed for bad bytes
    uint64_t overflows          # connections closed since they did not take their output

cdef struct History:            # what a function has from its first job on; most that workers register have none
    Function* function
    Queue delayed               # jobs that wait for their time
    Letter* first_letter        # dead letters, oldest first
    Letter* last_letter
    Result* first_result        # results of jobs that have ended, oldest first
    Result* last_result
    uint32_t letters
    uint32_t results
    uint32_t gate               # place in the heap of gates, 0 unless its rate is used up
    int64_t paced               # up to when the jobs that were given out use up its rate, monotonic ns
    uint64_t submitted
    uint64_t coalesced
    uint64_t refused            # for want of room in its queue
    uint64_t completed
    uint64_t failed
    uint64_t exceptions
    uint64_t requeued
    uint64_t timeouts
    uint64_t dropped
    uint64_t waiting_ns         # sums over all jobs
    uint64_t running_ns
    uint64_t waiting[32]        # jobs by the time they waited: below 1 us, 2 us, 4 us, ...; the last takes all others
    uint64_t running[32]        # jobs by the time they ran until they ended
    uint64_t restored[3]        # number of the last job that came back from the store, by priority
    uint64_t ahead[3]           # of the last one that was put before all durable ones, while the lease has lapsed

ctypedef void (*Resolve)(Core* core, Function* function) noexcept nogil

cdef enum Refusal:              # codes of ERROR
    INVALID_MAGIC = 0
    INVALID_COMMAND = 1
    INVALID_ARGUMENT = 2
    ARGUMENT_TOO_LARGE = 3
    QUEUE_ERROR = 4
    JOB_NOT_FOUND = 5
    UNKNOWN_OPTION = 6
    REFUSALS = 7

cdef struct Core:
    # settings
    char prefix[64]
    size_t prefix_size
    size_t max_packet
    size_t max_unsent           # bytes of unsent output of one peer, 0 no limit
    size_t high_water           # bytes of unsent output above which a peer's further frames wait, 0 no limit
    size_t max_queued           # bytes of all jobs, above which there are no more, 0 no limit; see side_limit too
    int retries_limit
    uint32_t wakeup
    uint8_t order
    uint8_t exceptions
    uint8_t draining            # no more jobs are given out
    uint8_t restoring           # jobs are coming back from the store
    uint8_t read_only           # connections may by default not change things
    uint64_t seed0
    uint64_t seed1
    void* owner                 # the Dispatcher, for the few commands that need Python
    # state
    int64_t now                 # monotonic ns
    int64_t wall                # ns since 1970
    uint64_t next_number
    Index functions
    Function* recent            # the function that was looked for last, or NULL
    Function* first_function
    Function* last_function
    size_t function_count
    Index uniques
    Index abilities
    Handles handles
    Slabs slabs
    size_t job_count
    size_t queued_bytes         # of all jobs, dead letters, remarks and results
    size_t waiter_count         # of all jobs
    size_t name_bytes           # of functions and registrations
    uint8_t over_ceiling        # max_queued was reached, and a log was told
    size_t running_count
    size_t delayed_count
    size_t retrying_count       # of those, jobs that wait for another try
    size_t ignored_count        # of those in queues
    Journal* journal            # NULL: no job is durable
    Far* far                    # NULL: all workloads stay in memory
    Heap timeouts               # monotonic
    Heap schedule               # wall clock
    Heap expiries               # monotonic, of queued jobs
    Heap gates                  # monotonic, of histories of functions whose rate is used up
    Heap wakings                # monotonic, of functions for which other workers may have to be woken
    Heap fading                 # wall clock, of dead letters that are not kept for ever
    Heap aging                  # the same of results
    Index letters
    Index remarks
    Index results               # by number
    Index result_keys           # by function and unique
    Policy* policies
    Resolve resolve             # gives a new function its policy; NULL while there are none
    uint64_t chance             # state of the generator of random numbers
    PeerSlot* slots
    size_t slot_count
    uint32_t free_slot
    size_t peer_count
    size_t record_count         # of peers: those in slots, and those that are gone but still among the dirty ones
    Peer** dirty                # a ring with room for all of them: the peers that have output or are to be closed
    size_t dirty_room           # of the ring, a power of two
    size_t dirty_first          # where in the ring the first one is
    size_t dirty_count
    Peer* pending
    Peer* pending_tail
    uint32_t effort             # of commands that walk something, records walked in this tick
    Pool pool
    Blob* input                 # where the frame that is being dispatched lies, if in a blob
    size_t last_large           # bytes of the last data that was held by reference, until its peer knows
    Blob* spare_blobs
    size_t spare_bytes          # of room in them
    size_t blob_count           # without the spare ones
    size_t blob_bytes
    Notice notices[128]
    uint32_t notice_count
    uint32_t notices_lost       # that found no room
    uint32_t drops_lost         # of them, those of jobs that were dropped
    char version[32]            # what the admin commands answer
    char verbose[16]
    long pid
    uint8_t abandoned           # in a forked child: not to be touched, not even to free it
    uint8_t shutdown            # asked for by an admin command: 1 now, 2 graceful
    Stats stats
