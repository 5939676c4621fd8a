// residual: the epilogue of gemm_residual, residual += gate * (A W^T + bias), and what the next product reads of it.
#pragma once
#include "epilogue.cuh"

struct ResidualEpilogue : PlainEpilogue {
    struct Fetched {
        float x[16];
    };
    const PidResidualParams& params;

    PID_DEVICE explicit ResidualEpilogue(const PidResidualParams& p) : params(p) {}

    PID_DEVICE float* residual(int group, const Row& row, std::uint32_t first) const {
        return params.stream[group].residual + static_cast<std::size_t>(row.stream) * params.gemm.n + first;
    }

    PID_DEVICE Fetched fetch(int group, const Row& row, bool valid, std::uint32_t column, int q) const {
        Fetched fetched;
        if (valid) load_floats(fetched.x, residual(group, row, column + 16 * static_cast<std::uint32_t>(q)));
        return fetched;
    }

    PID_DEVICE void row(int group, const Row& row, bool valid, float, std::uint32_t column, int q,
                        const Fetched& fetched, float (&v)[16]) const {
        const PidResidualStream& stream = params.stream[group];
        const std::uint32_t n = params.gemm.n, first = column + 16 * static_cast<std::uint32_t>(q);
        if (valid) {
            float gate[16], bias[16];
            load_floats(gate, stream.gate + first);
            load_floats(bias, params.gemm.group[group].bias + first);
            PID_UNROLL
            for (int i = 0; i < 16; ++i) v[i] = fetched.x[i] + gate[i] * (v[i] + bias[i]);
            store_floats(residual(group, row, first), v);
        }
        emit16(stream.emit, row.stream, valid, first, n, q, v);
    }
};
