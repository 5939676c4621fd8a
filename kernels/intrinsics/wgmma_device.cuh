// wgmma_device: the inline PTX of wgmma m64nNk16, bf16 in, f32 out. Made by tools/generate-wgmma, which lists the sizes;
// hopper_device.cuh has the functions that kernels call. `volatile` orders the products among fence, commit and wait;
// no "memory": what shared memory holds is ordered by the fence before and the wait after, which have it.
#pragma once

#define PID_F8(i) \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])

// Only the sizes below exist: another N does not compile.
template <int kN>
struct Wgmma;

template <>
struct Wgmma<8> {
    template <bool kTransposeB>
    static PID_DEVICE void shared(float (&d)[4], std::uint64_t a, std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %6, 0; "
            "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3 "
            "}, %4, %5, p, 1, 1, 0, %7; }"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "l"(a), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
    template <bool kTransposeB>
    static PID_DEVICE void registers(float (&d)[4], const std::uint32_t (&a)[4], std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %9, 0; "
            "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3 "
            "}, {%4, %5, %6, %7}, %8, p, 1, 1, %10; }"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
};

template <>
struct Wgmma<16> {
    template <bool kTransposeB>
    static PID_DEVICE void shared(float (&d)[8], std::uint64_t a, std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %10, 0; "
            "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7 "
            "}, %8, %9, p, 1, 1, 0, %11; }"
            : PID_F8(0)
            : "l"(a), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
    template <bool kTransposeB>
    static PID_DEVICE void registers(float (&d)[8], const std::uint32_t (&a)[4], std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %13, 0; "
            "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7 "
            "}, {%8, %9, %10, %11}, %12, p, 1, 1, %14; }"
            : PID_F8(0)
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
};

template <>
struct Wgmma<32> {
    template <bool kTransposeB>
    static PID_DEVICE void shared(float (&d)[16], std::uint64_t a, std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %18, 0; "
            "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15 "
            "}, %16, %17, p, 1, 1, 0, %19; }"
            : PID_F8(0), PID_F8(8)
            : "l"(a), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
    template <bool kTransposeB>
    static PID_DEVICE void registers(float (&d)[16], const std::uint32_t (&a)[4], std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %21, 0; "
            "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15 "
            "}, {%16, %17, %18, %19}, %20, p, 1, 1, %22; }"
            : PID_F8(0), PID_F8(8)
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
};

template <>
struct Wgmma<64> {
    template <bool kTransposeB>
    static PID_DEVICE void shared(float (&d)[32], std::uint64_t a, std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %34, 0; "
            "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
            "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31 "
            "}, %32, %33, p, 1, 1, 0, %35; }"
            : PID_F8(0), PID_F8(8), PID_F8(16), PID_F8(24)
            : "l"(a), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
    template <bool kTransposeB>
    static PID_DEVICE void registers(float (&d)[32], const std::uint32_t (&a)[4], std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %37, 0; "
            "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
            "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31 "
            "}, {%32, %33, %34, %35}, %36, p, 1, 1, %38; }"
            : PID_F8(0), PID_F8(8), PID_F8(16), PID_F8(24)
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
};

template <>
struct Wgmma<72> {
    template <bool kTransposeB>
    static PID_DEVICE void shared(float (&d)[36], std::uint64_t a, std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %38, 0; "
            "wgmma.mma_async.sync.aligned.m64n72k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
            "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35 "
            "}, %36, %37, p, 1, 1, 0, %39; }"
            : PID_F8(0), PID_F8(8), PID_F8(16), PID_F8(24), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35])
            : "l"(a), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
    template <bool kTransposeB>
    static PID_DEVICE void registers(float (&d)[36], const std::uint32_t (&a)[4], std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %41, 0; "
            "wgmma.mma_async.sync.aligned.m64n72k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
            "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35 "
            "}, {%36, %37, %38, %39}, %40, p, 1, 1, %42; }"
            : PID_F8(0), PID_F8(8), PID_F8(16), PID_F8(24), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
};

template <>
struct Wgmma<80> {
    template <bool kTransposeB>
    static PID_DEVICE void shared(float (&d)[40], std::uint64_t a, std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %42, 0; "
            "wgmma.mma_async.sync.aligned.m64n80k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
            "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39 "
            "}, %40, %41, p, 1, 1, 0, %43; }"
            : PID_F8(0), PID_F8(8), PID_F8(16), PID_F8(24), PID_F8(32)
            : "l"(a), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
    template <bool kTransposeB>
    static PID_DEVICE void registers(float (&d)[40], const std::uint32_t (&a)[4], std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %45, 0; "
            "wgmma.mma_async.sync.aligned.m64n80k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
            "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39 "
            "}, {%40, %41, %42, %43}, %44, p, 1, 1, %46; }"
            : PID_F8(0), PID_F8(8), PID_F8(16), PID_F8(24), PID_F8(32)
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
};

template <>
struct Wgmma<96> {
    template <bool kTransposeB>
    static PID_DEVICE void shared(float (&d)[48], std::uint64_t a, std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %50, 0; "
            "wgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
            "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "
            "%40, %41, %42, %43, %44, %45, %46, %47 "
            "}, %48, %49, p, 1, 1, 0, %51; }"
            : PID_F8(0), PID_F8(8), PID_F8(16), PID_F8(24), PID_F8(32), PID_F8(40)
            : "l"(a), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
    template <bool kTransposeB>
    static PID_DEVICE void registers(float (&d)[48], const std::uint32_t (&a)[4], std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %53, 0; "
            "wgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
            "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "
            "%40, %41, %42, %43, %44, %45, %46, %47 "
            "}, {%48, %49, %50, %51}, %52, p, 1, 1, %54; }"
            : PID_F8(0), PID_F8(8), PID_F8(16), PID_F8(24), PID_F8(32), PID_F8(40)
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
};

template <>
struct Wgmma<128> {
    template <bool kTransposeB>
    static PID_DEVICE void shared(float (&d)[64], std::uint64_t a, std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %66, 0; "
            "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
            "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "
            "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, "
            "%59, %60, %61, %62, %63 "
            "}, %64, %65, p, 1, 1, 0, %67; }"
            : PID_F8(0), PID_F8(8), PID_F8(16), PID_F8(24), PID_F8(32), PID_F8(40), PID_F8(48), PID_F8(56)
            : "l"(a), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
    template <bool kTransposeB>
    static PID_DEVICE void registers(float (&d)[64], const std::uint32_t (&a)[4], std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %69, 0; "
            "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
            "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "
            "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, "
            "%59, %60, %61, %62, %63 "
            "}, {%64, %65, %66, %67}, %68, p, 1, 1, %70; }"
            : PID_F8(0), PID_F8(8), PID_F8(16), PID_F8(24), PID_F8(32), PID_F8(40), PID_F8(48), PID_F8(56)
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
};

template <>
struct Wgmma<144> {
    template <bool kTransposeB>
    static PID_DEVICE void shared(float (&d)[72], std::uint64_t a, std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %74, 0; "
            "wgmma.mma_async.sync.aligned.m64n144k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
            "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "
            "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, "
            "%59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71 "
            "}, %72, %73, p, 1, 1, 0, %75; }"
            : PID_F8(0), PID_F8(8), PID_F8(16), PID_F8(24), PID_F8(32), PID_F8(40), PID_F8(48), PID_F8(56),
            PID_F8(64)
            : "l"(a), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
    template <bool kTransposeB>
    static PID_DEVICE void registers(float (&d)[72], const std::uint32_t (&a)[4], std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %77, 0; "
            "wgmma.mma_async.sync.aligned.m64n144k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
            "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "
            "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, "
            "%59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71 "
            "}, {%72, %73, %74, %75}, %76, p, 1, 1, %78; }"
            : PID_F8(0), PID_F8(8), PID_F8(16), PID_F8(24), PID_F8(32), PID_F8(40), PID_F8(48), PID_F8(56),
            PID_F8(64)
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
};

template <>
struct Wgmma<192> {
    template <bool kTransposeB>
    static PID_DEVICE void shared(float (&d)[96], std::uint64_t a, std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %98, 0; "
            "wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
            "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "
            "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, "
            "%59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, "
            "%78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95 "
            "}, %96, %97, p, 1, 1, 0, %99; }"
            : PID_F8(0), PID_F8(8), PID_F8(16), PID_F8(24), PID_F8(32), PID_F8(40), PID_F8(48), PID_F8(56),
            PID_F8(64), PID_F8(72), PID_F8(80), PID_F8(88)
            : "l"(a), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
    template <bool kTransposeB>
    static PID_DEVICE void registers(float (&d)[96], const std::uint32_t (&a)[4], std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %101, 0; "
            "wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
            "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "
            "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, "
            "%59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, "
            "%78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95 "
            "}, {%96, %97, %98, %99}, %100, p, 1, 1, %102; }"
            : PID_F8(0), PID_F8(8), PID_F8(16), PID_F8(24), PID_F8(32), PID_F8(40), PID_F8(48), PID_F8(56),
            PID_F8(64), PID_F8(72), PID_F8(80), PID_F8(88)
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
};

template <>
struct Wgmma<216> {
    template <bool kTransposeB>
    static PID_DEVICE void shared(float (&d)[108], std::uint64_t a, std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %110, 0; "
            "wgmma.mma_async.sync.aligned.m64n216k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
            "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "
            "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, "
            "%59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, "
            "%78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, "
            "%97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107 "
            "}, %108, %109, p, 1, 1, 0, %111; }"
            : PID_F8(0), PID_F8(8), PID_F8(16), PID_F8(24), PID_F8(32), PID_F8(40), PID_F8(48), PID_F8(56),
            PID_F8(64), PID_F8(72), PID_F8(80), PID_F8(88), PID_F8(96), "+f"(d[104]), "+f"(d[105]),
            "+f"(d[106]), "+f"(d[107])
            : "l"(a), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
    template <bool kTransposeB>
    static PID_DEVICE void registers(float (&d)[108], const std::uint32_t (&a)[4], std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %113, 0; "
            "wgmma.mma_async.sync.aligned.m64n216k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
            "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "
            "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, "
            "%59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, "
            "%78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, "
            "%97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107 "
            "}, {%108, %109, %110, %111}, %112, p, 1, 1, %114; }"
            : PID_F8(0), PID_F8(8), PID_F8(16), PID_F8(24), PID_F8(32), PID_F8(40), PID_F8(48), PID_F8(56),
            PID_F8(64), PID_F8(72), PID_F8(80), PID_F8(88), PID_F8(96), "+f"(d[104]), "+f"(d[105]),
            "+f"(d[106]), "+f"(d[107])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
};

template <>
struct Wgmma<256> {
    template <bool kTransposeB>
    static PID_DEVICE void shared(float (&d)[128], std::uint64_t a, std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %130, 0; "
            "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
            "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "
            "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, "
            "%59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, "
            "%78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, "
            "%97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, "
            "%113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127 "
            "}, %128, %129, p, 1, 1, 0, %131; }"
            : PID_F8(0), PID_F8(8), PID_F8(16), PID_F8(24), PID_F8(32), PID_F8(40), PID_F8(48), PID_F8(56),
            PID_F8(64), PID_F8(72), PID_F8(80), PID_F8(88), PID_F8(96), PID_F8(104), PID_F8(112),
            PID_F8(120)
            : "l"(a), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
    template <bool kTransposeB>
    static PID_DEVICE void registers(float (&d)[128], const std::uint32_t (&a)[4], std::uint64_t b, bool scale_d) {
        PID_SM90A(asm volatile(
            "{ .reg .pred p; setp.ne.b32 p, %133, 0; "
            "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
            "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "
            "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, "
            "%59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, "
            "%78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, "
            "%97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, "
            "%113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127 "
            "}, {%128, %129, %130, %131}, %132, p, 1, 1, %134; }"
            : PID_F8(0), PID_F8(8), PID_F8(16), PID_F8(24), PID_F8(32), PID_F8(40), PID_F8(48), PID_F8(56),
            PID_F8(64), PID_F8(72), PID_F8(80), PID_F8(88), PID_F8(96), PID_F8(104), PID_F8(112),
            PID_F8(120)
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(scale_d)), "n"(kTransposeB ? 1 : 0)));
    }
};

#undef PID_F8
