// residual: the epilogue of gemm_residual, residual += gate * (A W^T + bias), and what the next product reads of it.
//   Columns in the order Groups16.
#pragma once
#include "epilogue.cuh"

template <class Columns = ColumnsInMemory>
struct ResidualEpilogue : PlainEpilogue {
    using Op = PidResidualParams;
    struct Fetched {
        float x[16];
    };
    static constexpr int kFetchesAhead = 2;
    enum Array { kGate, kBias, kScale, kArrays };
    const Op& params;
    Columns columns;

    PID_DEVICE explicit ResidualEpilogue(const Op& p, Columns of = {}) : params(p), columns(of) {}

    PID_DEVICE static const float* array(const Op& op, int group, int i) {
        const PidResidualStream& stream = op.stream[group];
        if (i == kScale) return stream.emit.enabled ? stream.emit.scale : nullptr;
        return i == kGate ? stream.gate : op.gemm.group[group].bias;
    }

    PID_DEVICE float* residual(int group, const Row& row, std::uint32_t column) const {
        return params.stream[group].residual + static_cast<std::size_t>(row.stream) * params.gemm.n + column;
    }

    PID_DEVICE Fetched fetch(int group, const Row& row, bool valid, std::uint32_t column, int q) const {
        Fetched fetched;
        if (valid) load_groups(fetched.x, residual(group, row, column), q);
        return fetched;
    }

    PID_DEVICE void row(int group, const Row& row, bool valid, float, std::uint32_t column, int q,
                        const Fetched& fetched, float (&v)[16]) const {
        const PidResidualStream& stream = params.stream[group];
        if (valid) {
            float gate[16], bias[16];
            load_groups(gate, columns.at(kGate, stream.gate, column), q);
            load_groups(bias, columns.at(kBias, params.gemm.group[group].bias, column), q);
            PID_UNROLL
            for (int i = 0; i < 16; ++i) v[i] = fetched.x[i] + gate[i] * (v[i] + bias[i]);
            store_groups(residual(group, row, column), v, q);
        }
        const float* scale = stream.emit.enabled ? columns.at(kScale, stream.emit.scale, column) : nullptr;
        emit_groups(stream.emit, scale, row.stream, valid, column, params.gemm.n, q, v);
    }
};
