// latent_gate: the epilogue of gemm_latent_gate, stream += sigmoid(A W^T + feature_half - alpha sigma[b]) * features.
#pragma once
#include "epilogue.cuh"

struct LatentGateEpilogue : PlainEpilogue {
    struct Fetched {
        float x[16], half[16], features[16];
    };
    const PidLatentGateParams& params;

    PID_DEVICE explicit LatentGateEpilogue(const PidLatentGateParams& p) : params(p) {}

    PID_DEVICE std::size_t offset(const Row& row, std::uint32_t first) const {
        return static_cast<std::size_t>(row.stream) * params.gemm.n + first;
    }

    PID_DEVICE Fetched fetch(int, const Row& row, bool valid, std::uint32_t column, int q) const {
        Fetched fetched;
        if (valid) {
            const std::size_t at = offset(row, column + 16 * static_cast<std::uint32_t>(q));
            load_floats(fetched.x, params.stream + at);
            load_bf16(fetched.half, params.feature_half + at);
            load_bf16(fetched.features, params.features + at);
        }
        return fetched;
    }

    PID_DEVICE void row(int, const Row& row, bool valid, float, std::uint32_t column, int q,
                        const Fetched& fetched, float (&v)[16]) const {
        const std::uint32_t n = params.gemm.n, first = column + 16 * static_cast<std::uint32_t>(q);
        if (valid) {
            const float noise = params.alpha * params.sigma[row.sample];
            PID_UNROLL
            for (int i = 0; i < 16; ++i)
                v[i] = fetched.x[i] + sigmoid(v[i] + fetched.half[i] - noise) * fetched.features[i];
            store_floats(params.stream + offset(row, first), v);
        }
        emit16(params.emit, row.stream, valid, first, n, q, v);
    }
};
