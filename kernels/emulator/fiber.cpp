#include "fiber.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#include "sanitizer.hpp"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace pid::emu {

Stack::Stack(std::size_t bytes, std::size_t offset) : offset_(offset) {
    guard_ = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    mapped_ = (bytes + guard_ - 1) / guard_ * guard_ + guard_;
    void* memory = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    base_ = static_cast<char*>(memory);
    if (mprotect(base_, guard_, PROT_NONE) != 0) {
        munmap(base_, mapped_);
        throw std::bad_alloc();
    }
}

Stack::~Stack() {
    // What is mapped here next must not inherit it.
    sanitizer::unpoison(base_, mapped_);
    munmap(base_, mapped_);
}

namespace {
// ThreadSanitizer keeps a clock per fiber; a switch by itself orders nothing.
void tsan_switch([[maybe_unused]] Context& from, [[maybe_unused]] Context& to) {
#if defined(PID_EMU_TSAN)
    if (!from.tsan_fiber) from.tsan_fiber = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(to.tsan_fiber, 1);
#endif
}
}  // namespace

#if defined(__x86_64__)

// Saves the callee-saved registers of the System V ABI but for the floating-point control words, which no kernel changes:
// loading them takes longer than all of this.
asm(R"(
.text
.globl pid_emu_switch
.type pid_emu_switch,@function
pid_emu_switch:
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
.size pid_emu_switch,.-pid_emu_switch
.globl pid_emu_start
.type pid_emu_start,@function
pid_emu_start:
    movq %r12, %rdi
    callq *%r13
    ud2
.size pid_emu_start,.-pid_emu_start
)");

extern "C" void pid_emu_switch(void** save, void* load);
extern "C" void pid_emu_start();

void make_fiber(Context& context, Stack& stack, void (*entry)(void*), void* argument) {
    // Below the top: the address that `ret` takes, then what the switch pops. pid_emu_start is entered by `ret`
    // with rsp % 16 == 0 (three slots below the top), so that its call leaves entry with the alignment the ABI promises.
    auto* slot = reinterpret_cast<std::uint64_t*>(stack.top()) - 3;
    *slot = reinterpret_cast<std::uint64_t>(&pid_emu_start);
    *--slot = 0;                                            // rbp
    *--slot = 0;                                            // rbx
    *--slot = reinterpret_cast<std::uint64_t>(argument);    // r12
    *--slot = reinterpret_cast<std::uint64_t>(entry);       // r13
    *--slot = 0;                                            // r14
    *--slot = 0;                                            // r15
    context.stack_pointer = slot;
}

void switch_fiber(Context& from, Context& to) {
    tsan_switch(from, to);
    pid_emu_switch(&from.stack_pointer, to.stack_pointer);
}

#else

namespace {
struct Start {
    void (*entry)(void*);
    void* argument;
};
void trampoline(unsigned high, unsigned low) {
    auto* start = reinterpret_cast<Start*>(static_cast<std::uintptr_t>(high) << 32 | low);
    const Start copy = *start;
    delete start;
    copy.entry(copy.argument);
}
ucontext_t& of(Context& context) {
    if (!context.ucontext) context.ucontext = new ucontext_t;
    return *static_cast<ucontext_t*>(context.ucontext);
}
}  // namespace

void make_fiber(Context& context, Stack& stack, void (*entry)(void*), void* argument) {
    ucontext_t& u = of(context);
    getcontext(&u);
    u.uc_stack.ss_sp = stack.bottom();
    u.uc_stack.ss_size = static_cast<std::size_t>(stack.top() - stack.bottom());
    u.uc_link = nullptr;
    const auto bits = reinterpret_cast<std::uintptr_t>(new Start{entry, argument});
    makecontext(&u, reinterpret_cast<void (*)()>(trampoline), 2, static_cast<unsigned>(bits >> 32),
                static_cast<unsigned>(bits));
}

void switch_fiber(Context& from, Context& to) {
    tsan_switch(from, to);
    swapcontext(&of(from), &of(to));
}

#endif

}  // namespace pid::emu
