// tensor_map: what a PidTensorMap holds on the emulator, and the walk over one box of it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "../tensor_map.h"

namespace pid::emu {

constexpr unsigned kMaxTensorRank = 5;
constexpr unsigned kSwizzleBytes = 128;

struct TensorMap {
    std::uint32_t magic;
    std::uint8_t rank, element_bytes, swizzled, reserved;
    std::uint64_t address;
    std::uint64_t stride[kMaxTensorRank - 1];     // bytes, of dimension 1 on
    std::uint32_t last[kMaxTensorRank];           // extent - 1: an extent may be 2^32
    std::uint16_t box[kMaxTensorRank];

    static TensorMap decode(const PidTensorMap& map);
    bool valid() const;
    unsigned inner_bytes() const { return static_cast<unsigned>(box[0]) * element_bytes; }
    unsigned rows() const;
    unsigned box_bytes() const { return inner_bytes() * rows(); }
};
static_assert(sizeof(TensorMap) <= sizeof(PidTensorMap), "a tensor map has 128 bytes");

// One row (innermost dimension) of a box at `coordinates`: which of its bytes lie in the tensor, and where.
struct BoxRow {
    unsigned begin = 0, end = 0;   // bytes of the row inside the tensor; the others are out of bounds
    char* global = nullptr;        // of `begin`
};
BoxRow box_row(const TensorMap& map, const int* coordinates, unsigned row);

// Place of 16-byte chunk `chunk` of row `row` in the box in shared memory.
std::size_t box_chunk(const TensorMap& map, unsigned row, unsigned chunk);

}  // namespace pid::emu

extern "C" {

// cuTensorMapEncodeTiled on the emulator; type, swizzle and the rest have the values of its enums. Taken: types uint8 (0),
// float32 (7), bfloat16 (9); rank 2 to 5; element strides 1; no interleave; swizzle none (0) or 128 bytes (3); fill with
// zeros (0). `strides` are bytes, of dimension 1 on. 0 on success; else 1 and a message in `error`.
int pid_emu_encode_tiled(PidTensorMap* map, std::uint32_t type, std::uint32_t rank, void* address,
                         const std::uint64_t* extents, const std::uint64_t* strides, const std::uint32_t* box,
                         const std::uint32_t* element_strides, std::uint32_t interleave, std::uint32_t swizzle,
                         std::uint32_t l2_promotion, std::uint32_t fill, char* error, std::size_t error_bytes);
}
