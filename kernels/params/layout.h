// Compile-time checks of the structs' layout: C11, C++17, nvcc.
#pragma once

#ifdef __cplusplus
#define PID_STATIC_ASSERT(condition, message) static_assert(condition, message)
#else
#define PID_STATIC_ASSERT(condition, message) _Static_assert(condition, message)
#endif

#define PID_ASSERT_SIZE(Struct, bytes) PID_STATIC_ASSERT(sizeof(Struct) == (bytes), #Struct " is not " #bytes " bytes")
