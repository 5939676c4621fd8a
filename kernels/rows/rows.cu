// rows: ops that need whole rows of a stream [rows, D].
//   rows_text_norm    stream = rms(stream) vector + position[row mod T],  rms(x) = x / sqrt(mean(x^2, D) + 1e-6)
//   rows_restart      stream = source;                                    emit
//   rows_time_silu    stream = silu(vector + stream);                     emit
//   rows_latent_gate  stream += sigmoid(stream . gate_weight + half - alpha sigma) features;  emit
//   rows_lookup       stream = table[ids], NaN where an id names no row;  emit
//   emit: operand = bf16(stream scale), sums of stream^2 over 64 columns (common/emit.cuh)
//   stream, source [rows, D] f32, vector, scale, gate_weight [D] f32, features, operand [rows, D] bf16,
//   position [>= T, D], table [entries, D] bf16, ids [rows] int32, feature_half [rows] bf16, sums [rows, D / 64] f32, sigma [B] f32; rows 16-byte aligned,
//   D a multiple of 64; arithmetic in f32
//   sm_80+; one warp per row, a lane has 8 columns of each 256; grid ceil(rows / 8), block 256, smem 0
//   rows_text_norm and rows_latent_gate keep the row in registers: D at most kMaxHidden
//   memory bound, bytes per element: text_norm 8 (+ 2 from the cache), restart 10, time_silu 10, latent_gate 12, lookup 8
//   source: ops EmbedRows, Copy, AddSilu, FeatureGate, Lookup of src/graph/op.rs
#include "../common/emit.cuh"
#include "../common/rows.cuh"

namespace {

constexpr int kThreads = 256;
constexpr int kWarpRows = kThreads / 32;
// Columns of a warp per iteration.
constexpr std::uint32_t kColumns = 256;
constexpr int kMaxIterations = 8;
constexpr std::uint32_t kMaxHidden = kMaxIterations * kColumns;
static_assert(kMaxHidden >= 1536, "the released networks have 1536 columns");

// What each fault lacks.
enum : int { kNoRowGuard = 1, kNoColumnGuard = 2, kNoIdGuard = 3 };

PID_DEVICE std::uint32_t warp_row() { return blockIdx.x * kWarpRows + threadIdx.x / 32; }
PID_DEVICE std::uint32_t lane_column() { return threadIdx.x % 32 * 8; }

// The grid's last block may have warps without a row.
template <int kFault>
PID_DEVICE bool is_row(std::uint32_t row, std::uint32_t num_rows) {
    return kFault == kNoRowGuard || row < num_rows;
}
// The row's last iteration may have lanes without columns.
template <int kFault>
PID_DEVICE bool is_column(std::uint32_t column, std::uint32_t hidden) {
    return kFault == kNoColumnGuard || column < hidden;
}
// 64-bit: rows * hidden can pass 2^31.
PID_DEVICE std::size_t row_offset(std::uint32_t row, std::uint32_t hidden) {
    return static_cast<std::size_t>(row) * hidden;
}

// A lane's share of one row.
struct HeldRow {
    float x[kMaxIterations][8];
};

// Loads what the lane has of `from`, zeros beyond the row.
template <int kFault>
PID_DEVICE void load_row(HeldRow& held, const float* from, std::uint32_t hidden) {
    PID_UNROLL
    for (int i = 0; i < kMaxIterations; ++i) {
        const std::uint32_t column = i * kColumns + lane_column();
        if (i * kColumns < hidden && is_column<kFault>(column, hidden)) {
            load_floats(held.x[i], from + column);
        } else {
            PID_UNROLL
            for (int j = 0; j < 8; ++j) held.x[i][j] = 0.0f;
        }
    }
}

template <int kFault>
PID_DEVICE void text_norm(const PidRowsParams& params) {
    const std::uint32_t row = warp_row(), hidden = params.hidden;
    if (!is_row<kFault>(row, params.num_rows)) return;
    float* stream = params.stream + row_offset(row, hidden);
    const std::uint16_t* position = params.position + row_offset(row % params.rows_per_sample, hidden);
    HeldRow held;
    load_row<kFault>(held, stream, hidden);
    float squares = 0.0f;
    PID_UNROLL
    for (int i = 0; i < kMaxIterations; ++i) {
        PID_UNROLL
        for (int j = 0; j < 8; ++j) squares += held.x[i][j] * held.x[i][j];
    }
    const float inverse = rsqrt_approx(lanes_sum<32>(squares) / static_cast<float>(hidden) + kRmsEpsilon);
    PID_UNROLL
    for (int i = 0; i < kMaxIterations; ++i) {
        const std::uint32_t column = i * kColumns + lane_column();
        if (i * kColumns >= hidden || !is_column<kFault>(column, hidden)) continue;
        float weight[8], added[8];
        load_floats(weight, params.vector + column);
        load_bf16(added, position + column);
        PID_UNROLL
        for (int j = 0; j < 8; ++j) held.x[i][j] = held.x[i][j] * inverse * weight[j] + added[j];
        store_floats(stream + column, held.x[i]);
    }
}

template <int kFault>
PID_DEVICE void restart(const PidRowsParams& params) {
    const std::uint32_t row = warp_row(), hidden = params.hidden;
    if (!is_row<kFault>(row, params.num_rows)) return;
    const std::size_t offset = row_offset(row, hidden);
    for (std::uint32_t first = 0; first < hidden; first += kColumns) {
        const std::uint32_t column = first + lane_column();
        const bool inside = is_column<kFault>(column, hidden);
        float x[8] = {};
        if (inside) {
            load_floats(x, params.source + offset + column);
            store_floats(params.stream + offset + column, x);
        }
        emit_columns(params.emit, row, hidden, column, inside, x);
    }
}

template <int kFault>
PID_DEVICE void time_silu(const PidRowsParams& params) {
    const std::uint32_t row = warp_row(), hidden = params.hidden;
    if (!is_row<kFault>(row, params.num_rows)) return;
    float* stream = params.stream + row_offset(row, hidden);
    for (std::uint32_t first = 0; first < hidden; first += kColumns) {
        const std::uint32_t column = first + lane_column();
        const bool inside = is_column<kFault>(column, hidden);
        float x[8] = {};
        if (inside) {
            float time[8];
            load_floats(x, stream + column);
            load_floats(time, params.vector + column);
            PID_UNROLL
            for (int i = 0; i < 8; ++i) x[i] = silu(time[i] + x[i]);
            store_floats(stream + column, x);
        }
        emit_columns(params.emit, row, hidden, column, inside, x);
    }
}

template <int kFault>
PID_DEVICE void latent_gate(const PidLatentGateParams& params) {
    const PidRows& rows = params.gemm.group[0].rows;
    const std::uint32_t hidden = params.gemm.n;
    if (!is_row<kFault>(warp_row(), rows.count)) return;
    const Row row = row_at(rows, warp_row());
    float* stream = params.stream + row_offset(row.stream, hidden);
    const std::uint16_t* features = params.features + row_offset(row.stream, hidden);
    HeldRow held;
    load_row<kFault>(held, stream, hidden);
    float dot = 0.0f;
    PID_UNROLL
    for (int i = 0; i < kMaxIterations; ++i) {
        const std::uint32_t column = i * kColumns + lane_column();
        if (i * kColumns >= hidden || !is_column<kFault>(column, hidden)) continue;
        float weight[8];
        load_floats(weight, params.gate_weight + column);
        PID_UNROLL
        for (int j = 0; j < 8; ++j) dot += held.x[i][j] * weight[j];
    }
    const float logit =
        lanes_sum<32>(dot) + bf16_to_float(params.feature_half[row.stream]) - params.alpha * params.sigma[row.sample];
    const float gate = sigmoid(logit);
    PID_UNROLL
    for (int i = 0; i < kMaxIterations; ++i) {
        const std::uint32_t column = i * kColumns + lane_column();
        if (i * kColumns >= hidden) continue;  // of the whole warp: emit_columns needs all lanes
        const bool inside = is_column<kFault>(column, hidden);
        if (inside) {
            float feature[8];
            load_bf16(feature, features + column);
            PID_UNROLL
            for (int j = 0; j < 8; ++j) held.x[i][j] += gate * feature[j];
            store_floats(stream + column, held.x[i]);
        }
        emit_columns(params.emit, row.stream, hidden, column, inside, held.x[i]);
    }
}

template <int kFault>
PID_DEVICE void lookup(const PidLookupParams& params) {
    const std::uint32_t row = warp_row(), hidden = params.hidden;
    if (!is_row<kFault>(row, params.num_rows)) return;
    const std::uint32_t id = static_cast<std::uint32_t>(params.ids[row]);  // a negative one is above every entry
    const bool known = kFault == kNoIdGuard || id < params.num_entries;
    const std::uint16_t* from = params.table + row_offset(known ? id : 0, hidden);
    float* stream = params.output + row_offset(row, hidden);
    for (std::uint32_t first = 0; first < hidden; first += kColumns) {
        const std::uint32_t column = first + lane_column();
        const bool inside = is_column<kFault>(column, hidden);
        float x[8] = {};
        if (inside) {
            load_bf16(x, from + column);
            PID_UNROLL
            for (int i = 0; i < 8; ++i) x[i] = known ? x[i] : bits_to_float(0x7fffffffu);
            store_floats(stream + column, x);
        }
        emit_columns(params.emit, row, hidden, column, inside, x);
    }
}

}  // namespace

PID_KERNEL(rows_text_norm, PidRowsParams, plain_entry("rows_text_norm", kWarpRows, kThreads, 2)) { text_norm<0>(params); }
PID_KERNEL(rows_restart, PidRowsParams, plain_entry("rows_restart", kWarpRows, kThreads, 4)) { restart<0>(params); }
PID_KERNEL(rows_time_silu, PidRowsParams, plain_entry("rows_time_silu", kWarpRows, kThreads, 4)) { time_silu<0>(params); }
PID_KERNEL(rows_latent_gate, PidLatentGateParams, plain_entry("rows_latent_gate", kWarpRows, kThreads, 2)) { latent_gate<0>(params); }
PID_KERNEL(rows_lookup, PidLookupParams, plain_entry("rows_lookup", kWarpRows, kThreads, 4)) { lookup<0>(params); }

PID_FAULT(rows_text_norm, no_row_guard, text_norm<kNoRowGuard>)
PID_FAULT(rows_text_norm, no_column_guard, text_norm<kNoColumnGuard>)
PID_FAULT(rows_restart, no_row_guard, restart<kNoRowGuard>)
PID_FAULT(rows_restart, no_column_guard, restart<kNoColumnGuard>)
PID_FAULT(rows_time_silu, no_row_guard, time_silu<kNoRowGuard>)
PID_FAULT(rows_time_silu, no_column_guard, time_silu<kNoColumnGuard>)
PID_FAULT(rows_latent_gate, no_row_guard, latent_gate<kNoRowGuard>)
PID_FAULT(rows_latent_gate, no_column_guard, latent_gate<kNoColumnGuard>)
PID_FAULT(rows_lookup, no_row_guard, lookup<kNoRowGuard>)
PID_FAULT(rows_lookup, no_column_guard, lookup<kNoColumnGuard>)
PID_FAULT(rows_lookup, no_id_guard, lookup<kNoIdGuard>)
