// Parameter structs of all kernels: what the Rust side fills in and a kernel takes by value.
// `tools/check-bindings` makes src/kernels/params.rs of it.
#pragma once

#include "params/sample.h"
