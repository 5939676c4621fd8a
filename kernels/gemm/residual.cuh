// residual: the epilogue of gemm_residual, residual += gate * (A W^T + bias), and what the next product reads of it.
//   Columns in the order Groups16.
//   residual [rows, n] f32, gate and bias [n] f32; n a multiple of 64. source: op GatedResidual (src/graph/op.rs)
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

    PID_DEVICE float* residual(const RowBlock& of) const {
        return params.stream[of.group].residual + static_cast<std::size_t>(of.row.stream) * params.gemm.n + of.column;
    }

    PID_DEVICE Fetched fetch(const RowBlock& of) const {
        Fetched fetched;
        if (of.valid) load_groups(fetched.x, residual(of), of.q);
        return fetched;
    }

    PID_DEVICE void row(const RowBlock& of, const Fetched& fetched, float (&v)[16]) const {
        const PidResidualStream& stream = params.stream[of.group];
        if (of.valid) {
            float gate[16], bias[16];
            load_groups(gate, columns.at(kGate, stream.gate, of.column), of.q);
            load_groups(bias, columns.at(kBias, params.gemm.group[of.group].bias, of.column), of.q);
            PID_UNROLL
            for (int i = 0; i < 16; ++i) v[i] = fetched.x[i] + gate[i] * (v[i] + bias[i]);
            store_groups(residual(of), v, of.q);
        }
        const float* scale = stream.emit.enabled ? columns.at(kScale, stream.emit.scale, of.column) : nullptr;
        emit_groups(stream.emit, scale, of.row.stream, of.valid, of.column, params.gemm.n, of.q, v);
    }
};
