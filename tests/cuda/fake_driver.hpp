// fake_driver: what the fake driver knows and checks; fake_driver.cpp has the entry points.
#pragma once
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

extern "C" {

struct FakeCudaConfig {
    std::int32_t driver_version, num_devices, major, minor;
    std::uint64_t total_bytes;
};

struct FakeCudaLive {
    std::uint64_t allocations, bytes, host_allocations, contexts, modules, streams, graphs, executables;
};

struct FakeCudaCall {
    const char* kernel;
    std::uint32_t grid[3], block[3], shared_bytes, params_bytes;
    const void* params;
};

// 0 when the kernel ran; else 1 and a message.
typedef int (*FakeCudaLauncher)(const FakeCudaCall* call, char* error, std::size_t error_bytes);

// What a tensor map is made of; strides 1 within dimensions, no interleave, zeros outside.
struct FakeCudaTiled {
    std::uint32_t element, rank, swizzle, reserved;
    std::uint64_t address;
    const std::uint64_t *dims, *strides;
    const std::uint32_t* box_dims;
};

// 0 when the 128 bytes of the map are written; else 1 and a message.
typedef int (*FakeCudaEncoder)(void* map, const FakeCudaTiled* tiled, char* error, std::size_t error_bytes);

}  // extern "C"

namespace fake {

enum Result : int {
    kSuccess = 0,
    kInvalidValue = 1,
    kOutOfMemory = 2,
    kNotInitialized = 3,
    kNoDevice = 100,
    kInvalidDevice = 101,
    kInvalidImage = 200,
    kInvalidContext = 201,
    kNoBinaryForGpu = 209,
    kInvalidHandle = 400,
    kNotFound = 500,
    kIllegalAddress = 700,
    kInvalidClusterSize = 912,
    kContextIsDestroyed = 709,
    kLaunchFailed = 719,
};

// Words of NVIDIA's driver.
inline const std::map<int, const char*> kErrorTexts = {
    {kInvalidValue, "invalid argument"},
    {kOutOfMemory, "out of memory"},
    {kNotInitialized, "initialization error"},
    {kNoDevice, "no CUDA-capable device is detected"},
    {kInvalidDevice, "invalid device ordinal"},
    {kInvalidImage, "device kernel image is invalid"},
    {kInvalidContext, "invalid device context"},
    {kNoBinaryForGpu, "no kernel image is available for execution on the device"},
    {kInvalidHandle, "invalid resource handle"},
    {kNotFound, "named symbol not found"},
    {kIllegalAddress, "an illegal memory access was encountered"},
    {kInvalidClusterSize, "invalid cluster size"},
    {kContextIsDestroyed, "context is destroyed"},
    {kLaunchFailed, "unspecified launch failure"},
};

constexpr int kMaxDevices = 4;
constexpr std::size_t kAlignment = 256;  // of cuMemAlloc
constexpr unsigned kUnaskedSharedBytes = 48 * 1024;

struct Context {
    int references = 0;
    Result lost = kSuccess;  // what every call returns after a kernel has faulted
};

// What a handle names. Objects are never freed, so that a handle used too late is known as such.
struct Object {
    virtual ~Object() = default;
    bool alive = true;
    Context* context = nullptr;
};

struct Module : Object {
    const char* image = nullptr;
};

struct Function : Object {
    Module* module = nullptr;
    std::string name;
    unsigned params_bytes = 0;
    unsigned cluster_x = 1;
    unsigned shared_limit = kUnaskedSharedBytes;
};

struct Copy {
    const void* from;
    std::uint64_t to;
    std::size_t bytes;
};

// A kernel or, of bytes above 0, a copy.
struct Launch {
    Copy copy{};
    Function* function = nullptr;
    std::uint32_t grid[3], block[3], shared_bytes = 0;
    std::vector<std::uint64_t> params;
};

struct Stream : Object {
    std::deque<std::function<Result()>> work;
};

// By the host's clock.
struct Event : Object {
    bool recorded = false, happened = false;
    std::chrono::steady_clock::time_point at;
};

struct Graph;

struct Node : Object {
    Graph* graph = nullptr;
    Launch launch;
    std::vector<Node*> before;
    bool placed = false;
};

struct Graph : Object {
    std::vector<Node*> nodes;
};

struct Executable : Object {
    std::vector<Launch> launches;
};

struct Allocation {
    Context* context;
    std::size_t bytes, mapped;
    char* mapping;
};

struct HostAllocation {
    Context* context;
    std::size_t bytes;
};

struct Failure {
    std::string entry;
    std::uint64_t nth;  // from now on, the next call is 1
    Result result;
    bool sticky;
};

struct Driver {
    std::recursive_mutex mutex;
    FakeCudaConfig config{};
    FakeCudaEncoder encoder = nullptr;
    FakeCudaLauncher launcher = nullptr;
    bool initialized = false;
    Context contexts[kMaxDevices];
    std::unordered_map<const void*, std::unique_ptr<Object>> objects;  // by handle
    std::vector<Stream*> streams;                                      // those alive
    std::map<std::uint64_t, Allocation> allocations;
    std::map<const void*, HostAllocation> host_allocations;  // page-locked
    std::vector<Failure> failures;
    std::map<std::string, std::uint64_t> calls;
    std::string violations;
};

// Never destroyed: threads of the test may outlive main().
inline Driver& driver() {
    static Driver* driver = new Driver;
    return *driver;
}

inline thread_local Context* t_current = nullptr;

inline Result violation(const char* entry, const std::string& text, Result result) {
    driver().violations += std::string(entry) + ": " + text + "\n";
    return result;
}

inline int device_of(const Context* context) { return static_cast<int>(context - driver().contexts); }

inline std::uint64_t used_bytes(const Context* context) {
    std::uint64_t bytes = 0;
    for (const auto& [address, a] : driver().allocations) bytes += a.context == context ? a.bytes : 0;
    return bytes;
}

// Counts the call and lets it fail if the test wants so.
inline Result enter(const char* entry) {
    Driver& d = driver();
    ++d.calls[entry];
    for (std::size_t i = 0; i < d.failures.size(); ++i) {
        if (d.failures[i].entry != entry || --d.failures[i].nth > 0) continue;
        const Failure failure = d.failures[i];
        d.failures.erase(d.failures.begin() + static_cast<std::ptrdiff_t>(i));
        if (failure.sticky && t_current) t_current->lost = failure.result;
        return failure.result;
    }
    if (!d.initialized) return violation(entry, "before cuInit", kNotInitialized);
    return kSuccess;
}

// The same for calls that work in the current context.
inline Result enter_context(const char* entry) {
    if (const Result failed = enter(entry)) return failed;
    if (!t_current) return violation(entry, "no context is current on this thread", kInvalidContext);
    if (t_current->references == 0) return violation(entry, "the current context is released", kContextIsDestroyed);
    return t_current->lost;
}

#define ENTER(entry)                                                  \
    const std::lock_guard<std::recursive_mutex> lock(driver().mutex); \
    if (const Result failed = enter(entry)) return failed;
#define ENTER_CONTEXT(entry)                                          \
    const std::lock_guard<std::recursive_mutex> lock(driver().mutex); \
    if (const Result failed = enter_context(entry)) return failed;

template <class T>
T* make() {
    auto object = std::make_unique<T>();
    object->context = t_current;
    T* handle = object.get();
    driver().objects[handle] = std::move(object);
    return handle;
}

// Null, and a violation, unless `handle` is a living T of the current context.
template <class T>
T* find(const char* entry, const void* handle, const char* kind) {
    const auto found = driver().objects.find(handle);
    T* typed = found == driver().objects.end() ? nullptr : dynamic_cast<T*>(found->second.get());
    if (typed && typed->alive && typed->context == t_current) return typed;
    const char* why = !typed ? "no such " : !typed->alive ? "destroyed " : "another context's ";
    violation(entry, std::string(why) + kind, kInvalidHandle);
    return nullptr;
}

template <class T>
std::uint64_t count_alive() {
    std::uint64_t count = 0;
    for (const auto& [handle, object] : driver().objects)
        if (object->alive && dynamic_cast<T*>(object.get())) ++count;
    return count;
}

inline void unmap(const Allocation& a) {
    // The addresses stay taken.
    madvise(a.mapping, a.mapped, MADV_DONTNEED);
    mprotect(a.mapping, a.mapped, PROT_NONE);
}

inline bool inside_allocation(std::uint64_t address, std::size_t bytes) {
    auto after = driver().allocations.upper_bound(address);
    if (after == driver().allocations.begin()) return false;
    const auto& [start, a] = *--after;
    return a.context == t_current && address - start <= a.bytes && bytes <= a.bytes - (address - start);
}

inline bool inside_host_allocation(const void* start, std::size_t bytes) {
    auto after = driver().host_allocations.upper_bound(start);
    if (after == driver().host_allocations.begin()) return false;
    const auto& [first, a] = *--after;
    const auto offset = static_cast<std::size_t>(static_cast<const char*>(start) - static_cast<const char*>(first));
    return a.context == t_current && offset <= a.bytes && bytes <= a.bytes - offset;
}

inline Result run(const Copy& copy) {
    if (!inside_allocation(copy.to, copy.bytes) || !inside_host_allocation(copy.from, copy.bytes))
        return violation("a copy", "an end is gone", kIllegalAddress);
    std::memcpy(reinterpret_cast<void*>(copy.to), copy.from, copy.bytes);
    return kSuccess;
}

inline Result run(const Launch& launch) {
    if (launch.copy.bytes > 0) return run(launch.copy);
    const Function& f = *launch.function;
    if (!f.alive) return violation("a kernel", f.name + " was unloaded before it ran", kLaunchFailed);
    FakeCudaCall call{f.name.c_str(), {}, {}, launch.shared_bytes, f.params_bytes, launch.params.data()};
    std::memcpy(call.grid, launch.grid, sizeof call.grid);
    std::memcpy(call.block, launch.block, sizeof call.block);
    char error[2048] = "no launcher";
    if (driver().launcher && driver().launcher(&call, error, sizeof error) == 0) return kSuccess;
    return violation("a kernel", f.name + ": " + error, kLaunchFailed);
}

// Runs what is pending; the first failure loses the context.
inline Result finish(Stream& stream) {
    while (!stream.work.empty() && !stream.context->lost) {
        const std::function<Result()> work = std::move(stream.work.front());
        stream.work.pop_front();
        stream.context->lost = work();
    }
    return stream.context->lost;
}

inline Result finish_all(Context* context) {
    for (Stream* stream : driver().streams)
        if (stream->context == context) finish(*stream);
    return context->lost;
}

// The sections of a cubin, an ELF file of machine 190 (EM_CUDA). Null when `name` is not there.
inline const Elf64_Shdr* section(const char* image, const std::string& name) {
    const auto* header = reinterpret_cast<const Elf64_Ehdr*>(image);
    const auto* sections = reinterpret_cast<const Elf64_Shdr*>(image + header->e_shoff);
    const char* names = image + sections[header->e_shstrndx].sh_offset;
    for (int i = 0; i < header->e_shnum; ++i)
        if (name == names + sections[i].sh_name) return &sections[i];
    return nullptr;
}

// An attribute in `.nv.info.<kernel>`: its value, or for one with data of its own a word of that; 0 without it.
inline unsigned attribute(const char* image, const std::string& kernel, unsigned code, unsigned index = 0) {
    constexpr unsigned kSized = 4;
    const Elf64_Shdr* info = section(image, ".nv.info." + kernel);
    const auto* at = reinterpret_cast<const unsigned char*>(image) + (info ? info->sh_offset : 0);
    const unsigned char* const end = at + (info ? info->sh_size : 0);
    while (at + 4 <= end) {
        const bool is_sized = at[0] == kSized;
        const unsigned value = at[2] | at[3] << 8;
        unsigned word = value;
        if (is_sized && value >= 4 * (index + 1)) std::memcpy(&word, at + 4 + 4 * index, 4);
        if (at[1] == code) return word;
        at += 4 + (is_sized ? value : 0);
    }
    return 0;
}

// EIATTR_KPARAM_INFO: bytes of a kernel's one parameter. What the constant bank gives to parameters may be more: one that
// is aligned to 64 does not begin where they do.
inline unsigned params_bytes(const char* image, const std::string& kernel) {
    return attribute(image, kernel, 0x17, 2) >> 18;
}

// EIATTR_CTA_PER_CLUSTER: blocks along x that a kernel's grid is a multiple of; 1 without clusters.
inline unsigned cluster_x(const char* image, const std::string& kernel) {
    return std::max(1u, attribute(image, kernel, 0x3d));
}

// Most dynamic shared memory of a block (CUDA C++ Programming Guide, "Technical Specifications").
inline unsigned most_shared_bytes() {
    const FakeCudaConfig& c = driver().config;
    if (c.major == 8) return (c.minor == 0 || c.minor == 7 ? 163 : 99) * 1024;
    return (c.major == 12 ? 99 : 227) * 1024;
}

// Checks a launch and copies its parameters.
inline Result prepare(const char* entry, void* function, const unsigned (&shape)[7], void** params, void** extra,
                      Launch& out) {
    auto* f = find<Function>(entry, function, "function");
    if (!f) return kInvalidHandle;
    if (extra || !params || !params[0]) return violation(entry, f->name + ": no parameters", kInvalidValue);
    const unsigned limits[7] = {0x7fffffff, 65535, 65535, 1024, 1024, 64, f->shared_limit};
    const char* const names[7] = {"grid x", "grid y", "grid z", "block x", "block y", "block z", "shared memory"};
    for (int i = 0; i < 7; ++i) {
        if (shape[i] <= limits[i] && (shape[i] > 0 || i == 6)) continue;
        const std::string text = f->name + ": " + names[i] + " = " + std::to_string(shape[i]);
        return violation(entry, text + ", 1 to " + std::to_string(limits[i]) + " allowed", kInvalidValue);
    }
    if (std::uint64_t{shape[3]} * shape[4] * shape[5] > 1024)
        return violation(entry, f->name + ": more than 1024 threads", kInvalidValue);
    if (shape[0] % f->cluster_x != 0)
        return violation(entry,
                         f->name + ": grid x = " + std::to_string(shape[0]) + ", no multiple of the cluster of " +
                             std::to_string(f->cluster_x),
                         kInvalidClusterSize);
    out.function = f;
    std::memcpy(out.grid, shape, sizeof out.grid);
    std::memcpy(out.block, shape + 3, sizeof out.block);
    out.shared_bytes = shape[6];
    out.params.resize((f->params_bytes + 7) / 8);
    std::memcpy(out.params.data(), params[0], f->params_bytes);
    return kSuccess;
}

// A node's edges from those that must be over before.
inline Result add_edges(const char* entry, Node* node, Node* const* before, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        auto* other = find<Node>(entry, before[i], "node");
        if (!other || other->graph != node->graph) return violation(entry, "a node of another graph", kInvalidValue);
        if (std::count(before, before + i, before[i]) > 0) return violation(entry, "an edge twice", kInvalidValue);
        node->before.push_back(other);
    }
    return kSuccess;
}

inline void forget_dead_streams() {
    auto& streams = driver().streams;
    const auto dead = [](const Stream* s) { return !s->alive; };
    streams.erase(std::remove_if(streams.begin(), streams.end(), dead), streams.end());
}

// Everything that belongs to a context goes with it.
inline void destroy(Context* context) {
    finish_all(context);
    for (const auto& [handle, object] : driver().objects)
        if (object->context == context) object->alive = false;
    forget_dead_streams();
    auto& allocations = driver().allocations;
    for (auto it = allocations.begin(); it != allocations.end();) {
        if (it->second.context != context) {
            ++it;
            continue;
        }
        unmap(it->second);
        it = allocations.erase(it);
    }
    auto& host = driver().host_allocations;
    for (auto it = host.begin(); it != host.end();) {
        if (it->second.context != context) {
            ++it;
            continue;
        }
        std::free(const_cast<void*>(it->first));
        it = host.erase(it);
    }
    context->lost = kSuccess;
}

inline Result check_device(const char* entry, int device) {
    if (device >= 0 && device < driver().config.num_devices) return kSuccess;
    return violation(entry, "device " + std::to_string(device), kInvalidDevice);
}

}  // namespace fake
