// The scheduler behind shim.h: the threads of a block as fibers that meet in warps and blocks.
//
// A thread runs until it meets others and goes on when all that its mask names have arrived. When
// nobody can run and somebody waits, the kernel would hang on a card, or read undefined values; here
// the launch ends with a message. Blocks run one after the other, every second one with its threads
// in descending order, so that a missing barrier shows as a wrong result.
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#if !defined(__x86_64__) || defined(GRAMSERVE_SHIM_UCONTEXT)
#include <ucontext.h>
#endif

#include "shim.h"

gramserve_shim::Index threadIdx, blockIdx, blockDim, gridDim;

extern "C" void gramserve_shim_switch(void **from, void *to);

namespace gramserve_shim {

unsigned char *shared;

namespace {

constexpr unsigned most_threads = 1024, stack_bytes = 128 * 1024;
const size_t page = size_t(sysconf(_SC_PAGESIZE));

const char *const names[] = {"__shfl_sync",  "__shfl_xor_sync", "__shfl_up_sync",
                             "__shfl_down_sync", "__any_sync",  "__all_sync",
                             "__ballot_sync", "__syncwarp",     "__syncthreads"};

// ---- switching stacks --------------------------------------------------------------------------

#if defined(__x86_64__) && !defined(GRAMSERVE_SHIM_UCONTEXT)

using Context = void *;

asm(R"(
    .text
    .hidden gramserve_shim_switch
    .globl gramserve_shim_switch
    .type gramserve_shim_switch, @function
gramserve_shim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size gramserve_shim_switch, . - gramserve_shim_switch
)");

void prepare(Context &context, unsigned char *stack, void (*entry)()) {
    // The stack pointer is 8 beyond a multiple of 16 when a function begins.
    auto *top = reinterpret_cast<void **>(stack + stack_bytes - 64);
    *--top = nullptr;
    *--top = reinterpret_cast<void *>(entry);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    context = top;
}

inline void change(Context &from, Context &to) { gramserve_shim_switch(&from, to); }

#else

using Context = ucontext_t;

void prepare(Context &context, unsigned char *stack, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = stack_bytes;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
}

inline void change(Context &from, Context &to) { swapcontext(&from, &to); }

#endif

// ---- the block that runs -----------------------------------------------------------------------

struct Thread {
    Context context;
    Kind kind;
    unsigned mask;
    int source;
    uint64_t value, result;
};

struct Warp {
    unsigned ready, meeting, at_barrier;
};

Thread threads[most_threads];
Warp warps[most_threads / 32];
unsigned warp_count, living, at_barrier, current;
bool descending, failed;
Context launcher;
unsigned char *stacks;

void (*kernel_)(void **);
void **arguments_;
char *message_;
unsigned long message_bytes_;

void resume(unsigned thread) {
    unsigned before = current;
    current = thread;
    if (before != thread) change(threads[before].context, threads[thread].context);
    threadIdx.x = before;
}

[[noreturn]] void leave() {
    change(threads[current].context, launcher);
    abort();
}

[[noreturn]] __attribute__((format(printf, 1, 2))) void fail(const char *format, ...) {
    int length = snprintf(message_, message_bytes_, "block %u, thread %u: ", blockIdx.x, current);
    va_list rest;
    va_start(rest, format);
    vsnprintf(message_ + length, message_bytes_ - length, format, rest);
    va_end(rest);
    failed = true;
    leave();
}

int next_of(unsigned ready, unsigned lane) {
    if (ready == 0) return -1;
    if (descending) {
        unsigned below = ready & ((1u << lane) - 1);
        return 31 - __builtin_clz(below ? below : ready);
    }
    unsigned above = ready & ~((2u << lane) - 1);
    return __builtin_ctz(above ? above : ready);
}

// Nobody can run: say who waits for whom.
[[noreturn]] void fail_waiting() {
    char text[400];
    unsigned used = 0, gone = 0;
    for (unsigned w = 0; w < warp_count && used < sizeof text - 160; ++w) {
        const Warp &warp = warps[w];
        unsigned returned = ~(warp.meeting | warp.at_barrier);
        if (returned == 0xffffffffu) {
            ++gone;
            continue;
        }
        used += snprintf(text + used, sizeof text - used, "%s warp %u:", used ? ";" : "", w);
        if (warp.meeting) {
            const Thread &one = threads[w * 32 + __builtin_ctz(warp.meeting)];
            used += snprintf(text + used, sizeof text - used,
                             " lanes %08x wait at %s with mask %08x", warp.meeting,
                             names[one.kind], one.mask);
        }
        if (warp.at_barrier)
            used += snprintf(text + used, sizeof text - used, " lanes %08x wait at __syncthreads",
                             warp.at_barrier);
        if (returned)
            used += snprintf(text + used, sizeof text - used, " lanes %08x have returned", returned);
    }
    if (gone) snprintf(text + used, sizeof text - used, "; %u warps have returned", gone);
    fail("the threads wait for each other for ever:%s", text);
}

// Lets another thread run; returns when this one is ready again.
void yield() {
    unsigned warp = current / 32;
    int lane = next_of(warps[warp].ready, current % 32);
    for (unsigned step = 1; lane < 0 && step <= warp_count; ++step) {
        warp = (descending ? current / 32 + warp_count - step : current / 32 + step) % warp_count;
        lane = next_of(warps[warp].ready, descending ? 0 : 31);
    }
    if (lane < 0) {
        if (living == 0) leave();
        fail_waiting();
    }
    resume(warp * 32 + unsigned(lane));
}

void enter() {
    threadIdx.x = current;
    kernel_(arguments_);
    --living;
    warps[current / 32].ready &= ~(1u << current % 32);
    yield();
    abort();
}

// ---- launches ----------------------------------------------------------------------------------

sigjmp_buf escape;
void *fault_;
constexpr int caught_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
struct sigaction before[4];
volatile sig_atomic_t launching;
__thread bool launches_here;

void on_fault(int number, siginfo_t *info, void *) {
    if (!launches_here || !launching) {
        // Not ours: the fault comes again, to whoever was here before.
        for (int i = 0; i < 4; ++i)
            if (caught_signals[i] == number) sigaction(number, &before[i], nullptr);
        return;
    }
    fault_ = number == SIGSEGV || number == SIGBUS ? info->si_addr : nullptr;
    siglongjmp(escape, number);
}

unsigned char *map(size_t bytes) {
    void *place = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) abort();
    return static_cast<unsigned char *>(place);
}

void run_blocks(unsigned grid, unsigned block, unsigned shared_bytes, int backward) {
    for (unsigned step = 0; step < grid && !failed; ++step) {
        blockIdx.x = backward ? grid - 1 - step : step;
        descending = (blockIdx.x + unsigned(backward)) % 2 == 1;
        // NaN in every float: a read before the first write is seen in the result.
        memset(shared, 0xff, shared_bytes);
        warp_count = block / 32;
        living = block;
        at_barrier = 0;
        for (unsigned w = 0; w < warp_count; ++w) warps[w] = {0xffffffffu, 0, 0};
        for (unsigned t = 0; t < block; ++t)
            prepare(threads[t].context, stacks + size_t(t) * stack_bytes, enter);
        current = descending ? block - 1 : 0;
        change(launcher, threads[current].context);
    }
}

}  // namespace

uint64_t meet(Kind kind, unsigned mask, uint64_t value, int operand, int width) {
    const unsigned self = current, lane = self % 32, bit = 1u << lane;
    Thread &me = threads[self];
    Warp &warp = warps[self / 32];
    if (!(mask & bit))
        fail("%s with mask %08x, which does not name the calling lane %u", names[kind], mask, lane);
    if (width < 1 || width > 32 || (width & (width - 1)))
        fail("%s with width %d, which is not a power of two up to 32", names[kind], width);
    const int first = int(lane) & ~(width - 1), last = first + width - 1;
    int source = int(lane);
    if (kind == shuffle_index) {
        if (operand < 0 || operand >= width)
            fail("%s from lane %d of %d", names[kind], operand, width);
        source = first + operand;
    } else if (kind == shuffle_xor) {
        source = int(lane) ^ operand;
    } else if (kind == shuffle_up) {
        source = int(lane) - operand;
    } else if (kind == shuffle_down) {
        source = int(lane) + operand;
    }
    if (kind == shuffle_up ? source < first : source > last) source = int(lane);
    me.kind = kind;
    me.mask = mask;
    me.source = source;
    me.value = value;
    warp.meeting |= bit;
    if ((warp.meeting & mask) != mask) {
        warp.ready &= ~bit;
        yield();
        return me.result;
    }
    Thread *const lanes = threads + (self & ~31u);
    unsigned voted = 0;
    for (unsigned rest = mask; rest; rest &= rest - 1) {
        Thread &other = lanes[__builtin_ctz(rest)];
        if (other.kind != kind || other.mask != mask)
            fail("%s with mask %08x meets lane %d at %s with mask %08x", names[kind], mask,
                 __builtin_ctz(rest), names[other.kind], other.mask);
        if (!(mask >> unsigned(other.source) & 1))
            fail("%s with mask %08x: lane %d reads lane %d, which the mask does not name",
                 names[kind], mask, __builtin_ctz(rest), other.source);
        if (other.value) voted |= rest & -rest;
    }
    for (unsigned rest = mask; rest; rest &= rest - 1) {
        Thread &other = lanes[__builtin_ctz(rest)];
        other.result = kind <= shuffle_down ? lanes[other.source].value
                       : kind == vote_any   ? voted != 0
                       : kind == vote_all   ? voted == mask
                                            : voted;
    }
    warp.meeting &= ~mask;
    warp.ready |= mask;
    return me.result;
}

void meet_block() {
    Warp &warp = warps[current / 32];
    if (++at_barrier == warp_count * 32) {
        at_barrier = 0;
        for (unsigned w = 0; w < warp_count; ++w) warps[w].ready = 0xffffffffu, warps[w].at_barrier = 0;
        return;
    }
    warp.at_barrier |= 1u << current % 32;
    warp.ready &= ~(1u << current % 32);
    yield();
}

int run(void (*kernel)(void **), void **arguments, unsigned grid, unsigned block,
        unsigned shared_bytes, int backward, char *message, unsigned long message_bytes,
        void **fault) {
    // Not kept for the next launch: a process may have only so many mappings, each guarded stack
    // is two, and every library has its own.
    stacks = map(size_t(block) * stack_bytes);
    for (unsigned t = 0; t < block; ++t)
        mprotect(stacks + size_t(t) * stack_bytes, page, PROT_NONE);
    // Shared memory ends where a page begins that nobody may touch, and begins after another.
    const size_t rounded = (shared_bytes + 15u) / 16 * 16;
    const size_t pages = (rounded + page - 1) / page * page;
    unsigned char *const region = map(pages + 2 * page);
    mprotect(region, page, PROT_NONE);
    mprotect(region + page + pages, page, PROT_NONE);
    shared = region + page + pages - rounded;
    kernel_ = kernel, arguments_ = arguments, message_ = message, message_bytes_ = message_bytes;
    blockDim = {block, 1, 1}, gridDim = {grid, 1, 1}, blockIdx = {0, 0, 0}, threadIdx = {0, 0, 0};
    failed = false;

    static unsigned char signal_stack[64 * 1024];
    stack_t ours = {}, other = {};
    ours.ss_sp = signal_stack;
    ours.ss_size = sizeof signal_stack;
    sigaltstack(&ours, &other);
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int i = 0; i < 4; ++i) sigaction(caught_signals[i], &action, &before[i]);
    launches_here = true, launching = 1;
    *fault = nullptr;
    const int caught = sigsetjmp(escape, 1);
    if (caught == 0) {
        run_blocks(grid, block, shared_bytes, backward);
    } else {
        failed = true;
        *fault = fault_;
        snprintf(message, message_bytes, "block %u, thread %u: %s", blockIdx.x, current,
                 caught == SIGFPE   ? "division of an integer by zero"
                 : caught == SIGILL ? "misaligned access, index outside an array, or wrong shift"
                                    : "access to memory that is not its own");
    }
    launching = 0, launches_here = false;
    for (int i = 0; i < 4; ++i) sigaction(caught_signals[i], &before[i], nullptr);
    // An alternate stack may have been none; SS_DISABLE then restores that.
    sigaltstack(&other, nullptr);
    munmap(region, pages + 2 * page);
    munmap(stacks, size_t(block) * stack_bytes);
    return failed;
}

}  // namespace gramserve_shim
