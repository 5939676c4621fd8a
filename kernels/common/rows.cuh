// rows: where a row of a stream lies in buffers that hold joint text-image rows.
#pragma once
#include "../intrinsics/intrinsics.cuh"
#include "../params.h"

struct Row {
    std::uint32_t stream;  // in the stream's row space
    std::uint32_t sample;
    std::uint32_t token;  // within sample and stream
};

PID_DEVICE Row row_at(const PidRows& rows, std::uint32_t index) {
    const std::uint32_t stream = rows.first + index;
    const std::uint32_t sample = stream / rows.per_sample;
    return {stream, sample, stream - sample * rows.per_sample};
}

// Position within a sample's joint sequence.
PID_DEVICE std::uint32_t joint_token(const PidRows& rows, const Row& row) { return rows.joint_first + row.token; }

// Row of a joint buffer.
PID_DEVICE std::uint32_t joint_row(const PidRows& rows, const Row& row) {
    return row.sample * rows.joint_per_sample + joint_token(rows, row);
}
