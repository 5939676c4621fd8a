// registry: the table of kernels.
#pragma once
#include "kernel.hpp"

namespace pid::emu {

// Null when there is none of this name.
const Registration* find_kernel(const char* name);
// The list's head; follow `next`.
const Registration* first_kernel();

}  // namespace pid::emu
