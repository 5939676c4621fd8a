// matrix_descriptor: the 64-bit words that tell wgmma where an operand lies in shared memory.
//   Bits 0-13 start address / 16, 16-29 leading byte offset / 16, 32-45 stride byte offset / 16, 49-51 base offset,
//   62-63 swizzle (0 none, 1 128 bytes, 2 64 bytes, 3 32 bytes); PTX ISA, "Matrix descriptor format" of wgmma.
//   A host pointer has no 18-bit address; the offset within the block's shared memory, 1024-byte aligned, stands for it.
#pragma once
#include <cstdint>

namespace pid::emu {

struct MatrixDescriptor {
    std::uint32_t start, leading, stride;  // bytes
    unsigned base_offset, swizzle;

    static MatrixDescriptor unpack(std::uint64_t bits) {
        const auto field = [bits](unsigned at) { return static_cast<std::uint32_t>(bits >> at & 0x3fff) << 4; };
        return {field(0), field(16), field(32), static_cast<unsigned>(bits >> 49 & 7), static_cast<unsigned>(bits >> 62)};
    }

    // Byte of 16-bit element (mn, k) of a K-major operand; mn is the row of A or the column of B.
    //   No swizzle: 8 x 16-byte core matrices, each contiguous; `leading` apart along k, `stride` along mn.
    //   128 bytes: 8 rows of 128 bytes; `stride` between groups of 8 rows, `leading` unused.
    std::uint32_t k_major(unsigned mn, unsigned k) const {
        if (swizzle == 0) return start + mn / 8 * stride + k / 8 * leading + mn % 8 * 16 + k % 8 * 2;
        return swizzled(start + mn / 8 * stride + mn % 8 * 128 + k * 2);
    }

    // The same of an MN-major operand.
    //   No swizzle: core matrices of 8 k x 8 mn; `stride` apart along mn, `leading` along k.
    //   128 bytes: 8 k of 64 mn each; `leading` between groups of 64 mn, `stride` between groups of 8 k.
    std::uint32_t mn_major(unsigned mn, unsigned k) const {
        if (swizzle == 0) return start + mn / 8 * stride + k / 8 * leading + k % 8 * 16 + mn % 8 * 2;
        return swizzled(start + mn / 64 * leading + k / 8 * stride + k % 8 * 128 + mn % 64 * 2);
    }

private:
    // Address bits 4-6 XOR bits 7-9.
    static std::uint32_t swizzled(std::uint32_t address) { return address ^ (address >> 3 & 0x70); }
};

}  // namespace pid::emu
