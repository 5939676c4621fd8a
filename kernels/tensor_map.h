/* tensor_map: the opaque 128 bytes that describe a tensor to the bulk tensor copies (TMA). On a GPU a CUtensorMap, filled
 * by cuTensorMapEncodeTiled and aligned as cuda.h 13.0 has it; on the emulator filled by pid_emu_encode_tiled, with the same arguments. Plain C. */
#ifndef PID_TENSOR_MAP_H
#define PID_TENSOR_MAP_H
#include <stdint.h>

#if defined(__cplusplus)
#define PID_ALIGN_128 alignas(128)
#else
#define PID_ALIGN_128 _Alignas(128)
#endif

/** A kernel takes it inside its `__grid_constant__` parameters, and copies name it by its address there. */
typedef struct PidTensorMap {
    PID_ALIGN_128 uint64_t opaque[16];
} PidTensorMap;

#endif
