#include "wgmma.hpp"

#include <algorithm>
#include <cstring>

#include "matrix_descriptor.hpp"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define PID_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define PID_CLONES
#endif

namespace pid::emu {

namespace {
constexpr unsigned kWarpRows = 16;
constexpr unsigned kK = 16;
constexpr unsigned kMaxN = 256;
constexpr unsigned kWarpsPerGroup = 4;
// What an accumulator in flight reads as: a signalling NaN, since arithmetic on it gives other bits, which tell.
constexpr std::uint32_t kInFlight = 0xffa5a5a5u;

Block& block() { return *Block::current(); }

// Where register r of a lane's accumulator lies in the warp's 16 rows; PTX ISA, "Register Fragments for wgmma.mma_async".
unsigned d_row(unsigned lane, unsigned r) { return lane / 4 + r / 2 % 2 * 8; }
unsigned d_column(unsigned lane, unsigned r) { return r / 4 * 8 + lane % 4 * 2 + r % 2; }

// d [16][n] += a [16][16] b [16][n], in order of k; n is a multiple of 8. Tiles of 4 x 8 results stay in registers: nearly
// all of a large product's time is spent here.
PID_CLONES void multiply(float* d, const float (&a)[kWarpRows][kK], const float* b, unsigned n) {
    constexpr std::size_t kRows = 4, kColumns = 8;
    typedef float Vector __attribute__((vector_size(kColumns * sizeof(float))));
    for (std::size_t i = 0; i < kWarpRows; i += kRows)
        for (std::size_t j = 0; j < n; j += kColumns) {
            Vector sums[kRows];
            for (std::size_t r = 0; r < kRows; ++r) std::memcpy(&sums[r], d + (i + r) * n + j, sizeof(Vector));
            for (std::size_t k = 0; k < kK; ++k) {
                Vector row;
                std::memcpy(&row, b + k * n + j, sizeof row);
                for (std::size_t r = 0; r < kRows; ++r) sums[r] += a[i + r][k] * row;
            }
            for (std::size_t r = 0; r < kRows; ++r) std::memcpy(d + (i + r) * n + j, &sums[r], sizeof(Vector));
        }
}

std::uint32_t operand_offset(const MatrixDescriptor& descriptor, bool mn_major, unsigned mn, unsigned k) {
    return mn_major ? descriptor.mn_major(mn, k) : descriptor.k_major(mn, k);
}

// Every layout keeps 8 elements together (along k, or along mn of an MN-major operand), aligned to 16 bytes.
// Calls put(mn, k, value) for `count` rows from `first` on.
template <class Put>
void gather(std::uint64_t bits, bool mn_major, unsigned first, unsigned count, Put put) {
    const auto descriptor = MatrixDescriptor::unpack(bits);
    const unsigned mn_step = mn_major ? 8 : 1, k_step = mn_major ? 1 : 8;
    const char* shared = block().shared();
    for (unsigned i = 0; i < count; i += mn_step)
        for (unsigned k = 0; k < kK; k += k_step) {
            std::uint16_t chunk[8];
            std::memcpy(chunk, shared + operand_offset(descriptor, mn_major, first + i, k), sizeof chunk);
            for (unsigned e = 0; e < 8; ++e)
                put(mn_major ? i + e : i, mn_major ? k : k + e, bf16_bits_to_float(chunk[e]));
        }
}
}  // namespace

void Wgmma::reset() { warps_.clear(); }

Wgmma::Warp& Wgmma::warp() {
    const unsigned index = Block::thread().warp();
    if (warps_.size() <= index) warps_.resize(index + 1);
    return warps_[index];
}

void Wgmma::meet(const char* operation, Site site, void* argument, Block::Compute compute) {
    block().collective(kFullMask, operation, site, argument, compute);
}

void Wgmma::fence(Site site) {
    struct Argument {
        Wgmma* self;
    } argument{this};
    meet("wgmma.fence", site, &argument, [](void* const* arguments, unsigned) {
        Warp& warp = static_cast<Argument*>(arguments[0])->self->warp();
        warp.fenced = warp.a_fenced = true;
    });
}

void Wgmma::issue(Call call, Site site) {
    struct Argument {
        Call call;  // first: issue_warp() reads it alone
        Wgmma* self;
        Site site;
    } argument{call, this, site};
    meet("wgmma.mma_async", site, &argument, [](void* const* arguments, unsigned) {
        const auto* last = static_cast<const Argument*>(arguments[0]);
        last->self->issue_warp(arguments, last->site);
    });
}

// Fails when the operand is not in shared memory, still being loaded, or not yet visible to the asynchronous proxy.
void Wgmma::check_operand(const Call& call, bool is_b, Site site) {
    const auto descriptor = MatrixDescriptor::unpack(is_b ? call.b_descriptor : call.a_descriptor);
    const bool mn_major = is_b && call.b_mn_major;
    const char* name = is_b ? "B" : "A";
    if (descriptor.swizzle > 1 || descriptor.base_offset != 0)
        block().fail(site, "wgmma: descriptor of %s with swizzle %u, base offset %u is not emulated", name,
                     descriptor.swizzle, descriptor.base_offset);
    if (descriptor.swizzle == 1 && (descriptor.start & 0x380) != 0)
        block().fail(site, "wgmma: %s at shared memory + %u is not in the first row of a 128-byte swizzle pattern", name,
                     descriptor.start);
    const unsigned first = is_b ? 0 : Block::thread().warp() % kWarpsPerGroup * kWarpRows;
    const unsigned count = is_b ? call.n : kWarpRows;
    Block& own = block();
    for (unsigned i = 0; i < count; i += mn_major ? 8 : 1)
        for (unsigned k = 0; k < kK; k += mn_major ? 1 : 8) {
            const char* chunk = own.shared() + operand_offset(descriptor, mn_major, first + i, k);
            if (!own.in_shared(chunk, 16))
                own.fail(site, "wgmma: element (%u, %u) of %s lies outside shared memory", first + i, k, name);
            if (tma_.in_flight(chunk, 16))
                own.fail(site, "wgmma: %s is still being loaded: a missing mbarrier wait", name);
            if (proxy_.stale(chunk, 16))
                own.fail(site, "wgmma: %s was written without a fence.proxy.async since", name);
            proxy_.reads(chunk, 16);
        }
}

void Wgmma::issue_warp(void* const* calls, Site site) {
    Warp& w = warp();
    Product product;
    product.call = *static_cast<const Call*>(calls[0]);
    product.site = site;
    const Call& call = product.call;
    for (unsigned l = 0; l < kWarpSize; ++l) {
        const auto& other = *static_cast<const Call*>(calls[l]);
        if (other.b_descriptor != call.b_descriptor || other.a_descriptor != call.a_descriptor ||
            other.scale_d != call.scale_d)
            block().fail(site, "wgmma: lanes 0 and %u have different descriptors or scales", l);
        product.a[l] = other.a;
    }
    if (call.a && !w.a_fenced)
        block().fail(site, "wgmma: A in registers without a wgmma.fence since the last commit or wait");
    if (!call.a) check_operand(call, false, site);
    check_operand(call, true, site);
    if (w.accumulators.find(call.d) == w.accumulators.end()) open(w, product, calls);
    Accumulator& accumulator = w.accumulators[call.d];
    if (accumulator.n != call.n)
        block().fail(site, "wgmma: n = %u into an accumulator that is in flight with n = %u", call.n, accumulator.n);
    ++accumulator.in_flight;
    ++w.num_products;
    w.uncommitted.push_back(product);
}

// Takes the accumulator out of the registers, and leaves NaN there.
void Wgmma::open(Warp& w, const Product& product, void* const* calls) {
    const unsigned n = product.call.n;
    if (!w.fenced) block().fail(product.site, "wgmma: no wgmma.fence since the accumulators could last be touched");
    Accumulator accumulator;
    accumulator.n = n;
    accumulator.site = product.site;
    accumulator.values.resize(kWarpRows * n);
    for (unsigned l = 0; l < kWarpSize; ++l) {
        accumulator.d[l] = static_cast<const Call*>(calls[l])->d;
        for (unsigned r = 0; r < n / 2; ++r) accumulator.values[d_row(l, r) * n + d_column(l, r)] = accumulator.d[l][r];
        for (unsigned r = 0; r < n / 2; ++r) std::memcpy(&accumulator.d[l][r], &kInFlight, sizeof kInFlight);
    }
    w.accumulators[product.call.d] = std::move(accumulator);
}

void Wgmma::commit(Site site) {
    struct Argument {
        Wgmma* self;
    } argument{this};
    meet("wgmma.commit_group", site, &argument, [](void* const* arguments, unsigned) {
        Warp& w = static_cast<Argument*>(arguments[0])->self->warp();
        w.groups.push_back(std::move(w.uncommitted));
        w.uncommitted.clear();
        w.a_fenced = false;
    });
}

void Wgmma::compute(Warp& w, const Product& product) {
    const Call& call = product.call;
    Accumulator& accumulator = w.accumulators[call.d];
    float a[kWarpRows][kK];
    static thread_local float b[kK * kMaxN];
    if (call.a) {
        for (unsigned l = 0; l < kWarpSize; ++l)
            for (unsigned r = 0; r < 4; ++r)
                for (unsigned h = 0; h < 2; ++h)
                    a[l / 4 + r % 2 * 8][l % 4 * 2 + r / 2 * 8 + h] =
                        bf16_bits_to_float(static_cast<std::uint16_t>(product.a[l][r] >> 16 * h));
    } else {
        gather(call.a_descriptor, false, Block::thread().warp() % kWarpsPerGroup * kWarpRows, kWarpRows,
               [&a](unsigned i, unsigned k, float value) { a[i][k] = value; });
    }
    gather(call.b_descriptor, call.b_mn_major, 0, call.n,
           [&](unsigned j, unsigned k, float value) { b[k * call.n + j] = value; });
    if (!call.scale_d) std::fill(accumulator.values.begin(), accumulator.values.end(), 0.0f);
    multiply(accumulator.values.data(), a, b, call.n);
    --accumulator.in_flight;
}

// Puts the accumulator back into the registers; the ones that the kernel wrote meanwhile stay NaN.
void Wgmma::close(Accumulator& accumulator) {
    for (unsigned l = 0; l < kWarpSize; ++l)
        for (unsigned r = 0; r < accumulator.n / 2; ++r) {
            std::uint32_t bits;
            std::memcpy(&bits, &accumulator.d[l][r], sizeof bits);
            if (bits == kInFlight)
                accumulator.d[l][r] = accumulator.values[d_row(l, r) * accumulator.n + d_column(l, r)];
            else
                std::memset(&accumulator.d[l][r], kPoison, sizeof(float));
        }
}

void Wgmma::wait(unsigned pending, float* const* named, unsigned num_named, Site site) {
    struct Argument {
        Wgmma* self;
        unsigned pending;
        float* const* named;
        unsigned num_named;
        Site site;
    } argument{this, pending, named, num_named, site};
    meet("wgmma.wait_group", site, &argument, [](void* const* arguments, unsigned) {
        const auto& call = *static_cast<const Argument*>(arguments[0]);
        Wgmma& self = *call.self;
        Warp& w = self.warp();
        w.fenced = w.a_fenced = false;
        while (w.groups.size() > call.pending) {
            for (const Product& product : w.groups.front()) self.compute(w, product);
            w.groups.pop_front();
        }
        for (auto i = w.accumulators.begin(); i != w.accumulators.end();) {
            if (i->second.in_flight != 0) {
                ++i;
                continue;
            }
            // The compiler of a GPU may read an accumulator before a wait that does not name it.
            if (std::find(call.named, call.named + call.num_named, i->first) == call.named + call.num_named)
                block().fail(call.site, "wgmma: this wait completes the accumulator of %s:%d but does not name it",
                             i->second.site.file, i->second.site.line);
            self.close(i->second);
            i = w.accumulators.erase(i);
        }
    });
    proxy_.reads_done();
}

std::string Wgmma::finish() {
    const auto at = [](Site site) { return std::string(site.file) + ":" + std::to_string(site.line); };
    for (std::size_t i = 0; i < warps_.size(); ++i) {
        const Warp& w = warps_[i];
        if (!w.uncommitted.empty()) return at(w.uncommitted.front().site) + ": the block ended with this wgmma uncommitted";
        for (const auto& group : w.groups)
            if (!group.empty()) return at(group.front().site) + ": the block ended before this wgmma was waited for";
    }
    for (std::size_t first = 0; first < warps_.size(); first += kWarpsPerGroup)
        for (std::size_t i = first; i < first + kWarpsPerGroup; ++i) {
            const unsigned done = i < warps_.size() ? warps_[i].num_products : 0;
            if (done != warps_[first].num_products)
                return "warps " + std::to_string(first) + " and " + std::to_string(i) +
                       " of one warpgroup issued different numbers of wgmma: " +
                       std::to_string(warps_[first].num_products) + " and " + std::to_string(done);
        }
    return {};
}

}  // namespace pid::emu
