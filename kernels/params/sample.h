// A sample of what the bindings carry over; the first kernel's header replaces it.
#pragma once

#include <stdint.h>

#include "layout.h"

/// Dimensions of a sampled tensor: at most this many.
static const uint32_t PID_SAMPLE_RANK = 4;

/// A scale.
static const float PID_SAMPLE_SCALE = 0.5f;

/// What follows the sum.
typedef enum PidSampleActivation {
    /// Nothing.
    PID_SAMPLE_ACTIVATION_NONE = 0,
    PID_SAMPLE_ACTIVATION_GELU_TANH = 1, ///< GELU, by its tanh approximation.
    PID_SAMPLE_ACTIVATION_SILU = 2, //!< x * sigmoid(x).
} PidSampleActivation;

/// Where a tensor's elements are.
typedef struct PidSampleShape {
    /** Elements along each axis, outermost first. */
    uint32_t sizes[4];
    /**
     * Elements from one index to the next.
     *
     * Two paragraphs.
     */
    int64_t strides[4];
} PidSampleShape;

/// Parameters of the sample kernel.
///
/// Rounds once, at the end: `y = activation(x + bias)`.
typedef struct PidSampleParams {
    /// bf16, `shape` elements.
    const uint16_t *x;
    const float *bias; ///< One for each of the last axis; null where there is none.
    uint16_t *y; //!< bf16, as `x`.
    PidSampleShape shape;
    PidSampleActivation activation;
    float scale; ///< Of `x`,
                 ///<   on two lines.
    uint32_t count; // Not a doc comment.
} PidSampleParams;

PID_ASSERT_SIZE(PidSampleShape, 48);
PID_ASSERT_SIZE(PidSampleParams, 88);
