// intrinsics: the one header a kernel includes. device.cuh has every inline PTX of the project; host.cuh has the same
// functions on the emulator. Names are the PTX mnemonics'; pointers, not 32-bit shared addresses.
//
// A kernel is written once, with what it declares of itself (entry.h):
//   PID_KERNEL(op_variant, Params, entry) { PID_SHARED(Smem, smem); ... params.x ... }
// or as PID_CLUSTER_KERNEL, where the entry's CTAs of a cluster share loads and barriers; and no other entry point,
// shared-memory declaration or asm appears outside this folder. bf16 is its bits, uint16_t.
//
// A kernel body takes `int kFault`, 0 in every real entry. PID_FAULT(kernel, fault, body) registers, on the emulator alone,
// copies that each lack one wait, barrier or guard; tests assert that every one of them is caught.
#pragma once
#include <cstddef>
#include <cstdint>

#include "../entry.h"

#if defined(__CUDACC__)
#include "device.cuh"
#else
#include "host.cuh"
#endif

// Highest value below which every lane of a warp has a bit.
constexpr std::uint32_t kFullMask = 0xffffffffu;
