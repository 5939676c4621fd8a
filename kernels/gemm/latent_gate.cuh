// latent_gate: the epilogue of gemm_latent_gate, stream += sigmoid(A W^T + feature_half - alpha sigma[b]) * features.
//   Columns in the order Groups16.
//   stream [rows, n] f32, features and feature_half [rows, n] bf16, sigma [B] f32. source: op FeatureGate (src/graph/op.rs)
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

    PID_DEVICE std::size_t offset(const RowBlock& of) const {
        return static_cast<std::size_t>(of.row.stream) * params.gemm.n + of.column;
    }

    PID_DEVICE Fetched fetch(const RowBlock& of) const {
        Fetched fetched;
        if (of.valid) {
            load_groups(fetched.x, params.stream + offset(of), of.q);
            load_groups_bf16(fetched.half, params.feature_half + offset(of), of.q);
            load_groups_bf16(fetched.features, params.features + offset(of), of.q);
        }
        return fetched;
    }

    PID_DEVICE void row(const RowBlock& of, const Fetched& fetched, float (&v)[16]) const {
        if (of.valid) {
            const float noise = params.alpha * params.sigma[of.row.sample];
            PID_UNROLL
            for (int g = 0; g < 4; ++g) {
                float half[4], features[4];
                unpack_bf16(half, fetched.half[g]);
                unpack_bf16(features, fetched.features[g]);
                PID_UNROLL
                for (int i = 0; i < 4; ++i)
                    v[4 * g + i] = fetched.x[4 * g + i] + sigmoid(v[4 * g + i] + half[i] - noise) * features[i];
            }
            store_groups(params.stream + offset(of), v, of.q);
        }
        const float* scale = params.emit.enabled ? params.emit.scale + of.column : nullptr;
        emit_groups(params.emit, scale, of.row.stream, of.valid, of.column, params.gemm.n, of.q, v);
    }
};
