#include "tensor_map.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace pid::emu {

namespace {
constexpr std::uint32_t kMagic = 0x544d4150;  // not what a zeroed or poisoned map holds

unsigned bytes_of(std::uint32_t type) { return type == 0 ? 1 : type == 7 ? 4 : type == 9 ? 2 : 0; }

std::string number(std::uint64_t n) { return std::to_string(n); }

// The conditions that the driver's manual lists; empty when all hold.
std::string check(std::uint32_t type, std::uint32_t rank, const void* address, const std::uint64_t* extents,
                  const std::uint64_t* strides, const std::uint32_t* box, const std::uint32_t* element_strides,
                  std::uint32_t interleave, std::uint32_t swizzle, std::uint32_t fill) {
    const unsigned bytes = bytes_of(type);
    if (bytes == 0) return "element type " + number(type) + " is not emulated";
    if (rank < 2 || rank > kMaxTensorRank) return "rank " + number(rank) + ", from 2 to 5";
    if (interleave != 0 || fill != 0) return "interleave and fill other than 0 are not emulated";
    if (swizzle != 0 && swizzle != 3) return "swizzle " + number(swizzle) + " is not emulated";
    if (reinterpret_cast<std::uintptr_t>(address) % 16 != 0) return "the address is not a multiple of 16";
    std::uint64_t covered = extents[0] * bytes;
    for (unsigned i = 0; i < rank; ++i) {
        if (extents[i] == 0 || extents[i] > 1ull << 32) return "extent " + number(extents[i]) + " of dimension " + number(i);
        if (box[i] == 0 || box[i] > 256) return "box of " + number(box[i]) + " in dimension " + number(i);
        if (element_strides[i] != 1) return "element strides are not emulated";
        if (i == 0) continue;
        if (strides[i - 1] % 16 != 0 || strides[i - 1] >= 1ull << 40)
            return "stride " + number(strides[i - 1]) + " of dimension " + number(i) + " is not a multiple of 16 below 2^40";
        if (strides[i - 1] < covered)
            return "stride " + number(strides[i - 1]) + " of dimension " + number(i) + ", below the " + number(covered) +
                   " bytes that it steps over";
        covered = strides[i - 1] * extents[i];
    }
    const std::uint64_t inner = std::uint64_t{box[0]} * bytes;
    if (inner % 16 != 0) return "rows of the box have " + number(inner) + " bytes, not a multiple of 16";
    // Narrower rows are legal on a GPU; no kernel needs them.
    if (swizzle == 3 && inner != kSwizzleBytes) return "rows of the box have " + number(inner) + " bytes, the swizzle 128";
    return {};
}
}  // namespace

TensorMap TensorMap::decode(const PidTensorMap& map) {
    TensorMap decoded;
    std::memcpy(&decoded, &map, sizeof decoded);
    return decoded;
}

bool TensorMap::valid() const { return magic == kMagic; }

unsigned TensorMap::rows() const {
    unsigned n = 1;
    for (unsigned i = 1; i < rank; ++i) n *= box[i];
    return n;
}

BoxRow box_row(const TensorMap& map, const int* coordinates, unsigned row) {
    BoxRow result;
    std::uint64_t offset = 0;
    for (unsigned i = 1; i < map.rank; ++i) {
        const std::int64_t at = static_cast<std::int64_t>(coordinates[i]) + row % map.box[i];
        row /= map.box[i];
        if (at < 0 || at > map.last[i]) return result;
        offset += static_cast<std::uint64_t>(at) * map.stride[i - 1];
    }
    const std::int64_t first = coordinates[0], extent = static_cast<std::int64_t>(map.last[0]) + 1;
    const std::int64_t begin = std::max<std::int64_t>(first, 0), end = std::min<std::int64_t>(first + map.box[0], extent);
    if (begin >= end) return result;
    result.begin = static_cast<unsigned>(begin - first) * map.element_bytes;
    result.end = static_cast<unsigned>(end - first) * map.element_bytes;
    result.global = reinterpret_cast<char*>(map.address + offset + static_cast<std::uint64_t>(begin) * map.element_bytes);
    return result;
}

std::size_t box_chunk(const TensorMap& map, unsigned row, unsigned chunk) {
    if (map.swizzled) chunk ^= row % 8;
    return static_cast<std::size_t>(row) * map.inner_bytes() + chunk * 16;
}

}  // namespace pid::emu

int pid_emu_encode_tiled(PidTensorMap* map, std::uint32_t type, std::uint32_t rank, void* address,
                         const std::uint64_t* extents, const std::uint64_t* strides, const std::uint32_t* box,
                         const std::uint32_t* element_strides, std::uint32_t interleave, std::uint32_t swizzle,
                         [[maybe_unused]] std::uint32_t l2_promotion, std::uint32_t fill, char* error,
                         std::size_t error_bytes) {
    using namespace pid::emu;
    const std::string wrong =
        check(type, rank, address, extents, strides, box, element_strides, interleave, swizzle, fill);
    if (!wrong.empty()) {
        std::snprintf(error, error_bytes, "tensor map: %s", wrong.c_str());
        return 1;
    }
    TensorMap encoded = {};
    encoded.magic = kMagic;
    encoded.rank = static_cast<std::uint8_t>(rank);
    encoded.element_bytes = static_cast<std::uint8_t>(bytes_of(type));
    encoded.swizzled = swizzle == 3;
    encoded.address = reinterpret_cast<std::uint64_t>(address);
    for (unsigned i = 0; i < rank; ++i) {
        encoded.last[i] = static_cast<std::uint32_t>(extents[i] - 1);
        encoded.box[i] = static_cast<std::uint16_t>(box[i]);
        if (i > 0) encoded.stride[i - 1] = strides[i - 1];
    }
    std::memset(map, 0, sizeof *map);
    std::memcpy(map, &encoded, sizeof encoded);
    return 0;
}
