// fiber: a stack of its own for one emulated CUDA thread, and the switch between two of them.
//   x86-64: 15 instructions; elsewhere ucontext. Fibers never move to another OS thread.
#pragma once
#include <cstddef>

namespace pid::emu {

// Where a suspended fiber continues; opaque.
struct Context {
    void* stack_pointer = nullptr;
    void* ucontext = nullptr;    // fallback only
    void* tsan_fiber = nullptr;  // under ThreadSanitizer only
};

// A mapped stack with an unmapped page below it, so that an overflow faults instead of corrupting. It begins `offset` bytes
// below its end: stacks that all begin at the same place of a page push each other out of the first-level cache.
class Stack {
public:
    Stack(std::size_t bytes, std::size_t offset);
    ~Stack();
    Stack(const Stack&) = delete;
    Stack& operator=(const Stack&) = delete;
    char* top() const { return base_ + mapped_ - offset_; }
    char* bottom() const { return base_ + guard_; }

private:
    char* base_;
    std::size_t mapped_;
    std::size_t guard_;
    std::size_t offset_;
};

// Prepares `context` to run entry(argument) on `stack`; entry never returns.
void make_fiber(Context& context, Stack& stack, void (*entry)(void*), void* argument);

// Suspends the running code into `from` and continues `to`.
void switch_fiber(Context& from, Context& to);

}  // namespace pid::emu
