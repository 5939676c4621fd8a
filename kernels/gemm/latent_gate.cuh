// latent_gate: the epilogue of gemm_latent_gate, stream += sigmoid(A W^T + feature_half - alpha sigma[b]) * features.
#pragma once
#include "epilogue.cuh"

struct LatentGateEpilogue : PlainEpilogue {
    struct Fetched {
        float x[16];
        uint4 half[2], features[2];  // bf16, 8 each
    };
    static constexpr bool kFetchesAhead = false;
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
            PID_UNROLL
            for (int i = 0; i < 2; ++i) {
                fetched.half[i] = reinterpret_cast<const uint4*>(params.feature_half + at)[i];
                fetched.features[i] = reinterpret_cast<const uint4*>(params.features + at)[i];
            }
        }
        return fetched;
    }

    PID_DEVICE void row(int, const Row& row, bool valid, float, std::uint32_t column, int q,
                        const Fetched& fetched, float (&v)[16]) const {
        const std::uint32_t n = params.gemm.n, first = column + 16 * static_cast<std::uint32_t>(q);
        if (valid) {
            const float noise = params.alpha * params.sigma[row.sample];
            PID_UNROLL
            for (int i = 0; i < 2; ++i) {
                float half[8], features[8];
                unpack_bf16(half, fetched.half[i]);
                unpack_bf16(features, fetched.features[i]);
                PID_UNROLL
                for (int j = 0; j < 8; ++j)
                    v[8 * i + j] = fetched.x[8 * i + j] + sigmoid(v[8 * i + j] + half[j] - noise) * features[j];
            }
            store_floats(params.stream + offset(row, first), v);
        }
        emit16(params.emit, row.stream, valid, first, n, q, v);
    }
};
