// latent_gate: the epilogue of gemm_latent_gate, stream += sigmoid(A W^T + feature_half - alpha sigma[b]) * features.
//   Columns in the order Groups16.
#pragma once
#include "epilogue.cuh"

// Nothing is staged: 48 values fetched a row leave no registers to spare.
template <class = ColumnsInMemory>
struct LatentGateEpilogue : PlainEpilogue {
    using Op = PidLatentGateParams;
    struct Fetched {
        float x[16];
        uint2 half[4], features[4];  // bf16, 4 each
    };
    const Op& params;

    PID_DEVICE explicit LatentGateEpilogue(const Op& p, ColumnsInMemory = {}) : params(p) {}

    PID_DEVICE std::size_t offset(const Row& row, std::uint32_t column) const {
        return static_cast<std::size_t>(row.stream) * params.gemm.n + column;
    }

    PID_DEVICE Fetched fetch(int, const Row& row, bool valid, std::uint32_t column, int q) const {
        Fetched fetched;
        if (valid) {
            load_groups(fetched.x, params.stream + offset(row, column), q);
            load_groups_bf16(fetched.half, params.feature_half + offset(row, column), q);
            load_groups_bf16(fetched.features, params.features + offset(row, column), q);
        }
        return fetched;
    }

    PID_DEVICE void row(int, const Row& row, bool valid, float, std::uint32_t column, int q,
                        const Fetched& fetched, float (&v)[16]) const {
        if (valid) {
            const float noise = params.alpha * params.sigma[row.sample];
            PID_UNROLL
            for (int g = 0; g < 4; ++g) {
                float half[4], features[4];
                unpack_bf16(half, fetched.half[g]);
                unpack_bf16(features, fetched.features[g]);
                PID_UNROLL
                for (int i = 0; i < 4; ++i)
                    v[4 * g + i] = fetched.x[4 * g + i] + sigmoid(v[4 * g + i] + half[i] - noise) * features[i];
            }
            store_groups(params.stream + offset(row, column), v, q);
        }
        const float* scale = params.emit.enabled ? params.emit.scale + column : nullptr;
        emit_groups(params.emit, scale, row.stream, valid, column, params.gemm.n, q, v);
    }
};
