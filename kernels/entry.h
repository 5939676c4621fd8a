// entry: what a kernel declares of itself beside its code, once, where PID_KERNEL defines it. The emulator's registry, the
// table by which launches are made (src/kernels/table.rs) and the gates on what ptxas says are made of it.
#pragma once
#include <cstdint>

// In which order the rows of a product's second operand lie in memory (src/kernels/order.rs).
enum class RowOrder : std::uint32_t { plain, consecutive16, groups16 };

// An order, and the columns of a block within which it permutes; whole blocks are stored.
struct StoredRows {
    RowOrder order;
    std::uint32_t block;
};
constexpr StoredRows kPlainRows{RowOrder::plain, 1};
constexpr StoredRows kHeadsOf64{RowOrder::consecutive16, 64};
constexpr StoredRows kHeadsOf72{RowOrder::consecutive16, 72};
constexpr StoredRows kGroupsOf16{RowOrder::groups16, 16};

// What the tensor cores multiply.
enum class OperandFormat : std::uint32_t { none, bf16 };

// What a device must have, as bits (src/kernels/capabilities.rs).
enum Needed : std::uint32_t { kNeedsBf16Mma = 1, kNeedsBulkCopies = 2, kNeedsMulticast = 4, kNeedsWgmma = 8 };

struct KernelEntry {
    // The op: the name of the portable kernel that does the same.
    const char* op;
    // Which kernels it belongs to: the name of a folder of src/kernels/family.
    const char* family;
    // What a block computes at a time. Of a product rows, columns, and inner columns of a slice; of attention queries, keys
    // of a tile, and columns of a head; of others items along x, as launches count them.
    std::uint32_t tile[3];
    // Of a convolution, tokens of the grid along x and y that a tile's rows are; zeros where rows are rows.
    std::uint32_t grid_tile[2];
    // Columns and rows of a box of results that a bulk store writes; zeros where threads store.
    std::uint32_t store_box[2];
    // Slices, or tiles of keys, that shared memory holds at a time.
    std::uint32_t stages;
    // Of a block, and blocks of a multiprocessor at least.
    std::uint32_t threads, min_blocks;
    // Blocks of a cluster, along x.
    std::uint32_t cluster;
    // Dynamic shared memory of a block.
    std::uint32_t shared_bytes;
    // Of a thread of the producer and of the consumers, after setmaxnreg; 0 where all keep those of the launch.
    std::uint32_t producer_registers, consumer_registers;
    // Bits of Needed.
    std::uint32_t needs;
    OperandFormat operands;
    StoredRows stored;
    // A product's columns and inner size are multiples of these.
    std::uint32_t n_multiple, k_multiple;
    // Whether consumers have tiles in turn: 0 or 1.
    std::uint32_t ping_pong;

    // The same for a product whose columns are multiples of `n`.
    constexpr KernelEntry with_n_multiple(std::uint32_t n) const {
        KernelEntry entry = *this;
        entry.n_multiple = n;
        return entry;
    }
};

// A kernel without tensor cores: a block for every `items` along x.
constexpr KernelEntry plain_entry(const char* op, std::uint32_t items, std::uint32_t threads, std::uint32_t min_blocks,
                                  std::uint32_t shared_bytes = 0) {
    return {op, "portable", {items, 1, 1}, {0, 0}, {0, 0}, 1, threads, min_blocks, 1, shared_bytes, 0, 0, 0,
            OperandFormat::none, kPlainRows, 1, 1, 0};
}

// A kernel that only tests launch, as they say.
constexpr KernelEntry test_entry(std::uint32_t threads, std::uint32_t min_blocks, std::uint32_t cluster = 1) {
    KernelEntry entry = plain_entry("", 1, threads, min_blocks);
    entry.family = "tests";
    entry.cluster = cluster;
    return entry;
}
