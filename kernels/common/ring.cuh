// ring: a place in a ring of slots that a producer fills and consumers give back, each use of a slot a phase of its mbarriers.
#pragma once
#include "../intrinsics/intrinsics.cuh"

// The slot, and the parity of the phase in which it is filled.
template <std::uint32_t kSlots>
struct RingPlace {
    std::uint32_t slot = 0, parity = 0;

    PID_DEVICE void advance() {
        if (++slot == kSlots) slot = 0, parity ^= 1;
    }
    // As many times.
    PID_DEVICE void skip(std::uint32_t count) {
        slot += count;
        parity ^= slot / kSlots % 2;
        slot %= kSlots;
    }
};
