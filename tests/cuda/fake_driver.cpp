// fake_driver: a libcuda.so for machines without a GPU, as strict as a debugging driver.
//   It has the entry points that the CUDA backend and cudarc use and no others, checks their use, and hands kernels to
//   the launcher that the test sets. Work on a stream runs only when somebody waits for the stream, nodes of a graph in
//   the latest order that their edges allow, and freed memory is never mapped again: a missing wait, edge or owner
//   shows. Sizes of parameters are read from the cubins.
//   What it cannot show: times, whether the cubins' machine code is right, errors that only hardware has, the driver's
//   own memory, peers, and several processes on one GPU.
#include "fake_driver.hpp"

using namespace fake;

extern "C" {

// Another machine. What is alive stays, counters and failures are forgotten.
void fake_cuda_configure(const FakeCudaConfig* config) {
    Driver& d = driver();
    const std::lock_guard<std::recursive_mutex> lock(d.mutex);
    d.config = *config;
    d.initialized = false;
    d.failures.clear();
    d.calls.clear();
    d.violations.clear();
}
void fake_cuda_set_total_bytes(std::uint64_t bytes) { driver().config.total_bytes = bytes; }
void fake_cuda_set_launcher(FakeCudaLauncher launcher) { driver().launcher = launcher; }
void fake_cuda_set_encoder(FakeCudaEncoder encoder) { driver().encoder = encoder; }
// Lets the nth call of `entry` from now on fail; `sticky`: and all that follow in its context.
void fake_cuda_fail(const char* entry, std::uint64_t nth, int result, int sticky) {
    const std::lock_guard<std::recursive_mutex> lock(driver().mutex);
    driver().failures.push_back({entry, nth, static_cast<Result>(result), sticky != 0});
}
std::uint64_t fake_cuda_calls(const char* entry) {
    const std::lock_guard<std::recursive_mutex> lock(driver().mutex);
    return driver().calls[entry];
}
void fake_cuda_live(FakeCudaLive* live) {
    const std::lock_guard<std::recursive_mutex> lock(driver().mutex);
    *live = {};
    for (const Context& c : driver().contexts) live->contexts += c.references > 0, live->bytes += used_bytes(&c);
    live->allocations = driver().allocations.size();
    live->host_allocations = driver().host_allocations.size();
    live->modules = count_alive<Module>();
    live->streams = count_alive<Stream>();
    live->graphs = count_alive<Graph>();
    live->executables = count_alive<Executable>();
}
// What was done wrong since the last question, a line each; lives until the next.
const char* fake_cuda_violations() {
    const std::lock_guard<std::recursive_mutex> lock(driver().mutex);
    static std::string told;
    told = std::move(driver().violations);
    driver().violations.clear();
    return told.c_str();
}

int cuDriverGetVersion(int* version) {
    *version = driver().config.driver_version;
    return kSuccess;
}
int cuGetErrorString(int error, const char** text) {
    const auto found = kErrorTexts.find(error);
    *text = found == kErrorTexts.end() ? nullptr : found->second;
    return found == kErrorTexts.end() ? kInvalidValue : kSuccess;
}
int cuInit(unsigned flags) {
    const std::lock_guard<std::recursive_mutex> lock(driver().mutex);
    if (flags != 0) return violation("cuInit", "flags", kInvalidValue);
    if (driver().config.num_devices == 0) return kNoDevice;
    driver().initialized = true;
    return enter("cuInit");
}

int cuDeviceGetCount(int* count) {
    ENTER("cuDeviceGetCount")
    *count = driver().config.num_devices;
    return kSuccess;
}
int cuDeviceGet(int* device, int ordinal) {
    ENTER("cuDeviceGet")
    *device = ordinal;
    return check_device("cuDeviceGet", ordinal);
}
int cuDeviceGetName(char* name, int bytes, int device) {
    ENTER("cuDeviceGetName")
    std::snprintf(name, static_cast<std::size_t>(bytes), "Fake GPU %d", device);
    return check_device("cuDeviceGetName", device);
}
// No GPU's: the management library of a machine that has one does not know it.
int cuDeviceGetUuid(unsigned char* uuid, int device) {
    ENTER("cuDeviceGetUuid")
    std::memset(uuid, 0, 16);
    return check_device("cuDeviceGetUuid", device);
}
int cuDeviceGetUuid_v2(unsigned char* uuid, int device) { return cuDeviceGetUuid(uuid, device); }
int cuDeviceGetAttribute(int* value, int attribute, int device) {
    ENTER("cuDeviceGetAttribute")
    constexpr int kClockRate = 13, kMultiprocessors = 16, kMajor = 75, kMinor = 76, kMemoryPoolsSupported = 115;
    if (attribute == kClockRate || attribute == kMultiprocessors) {
        *value = attribute == kClockRate ? 1000000 : 2;
        return check_device("cuDeviceGetAttribute", device);
    }
    if (attribute != kMajor && attribute != kMinor && attribute != kMemoryPoolsSupported)
        return violation("cuDeviceGetAttribute", "unknown " + std::to_string(attribute), kInvalidValue);
    *value = attribute == kMajor ? driver().config.major : attribute == kMinor ? driver().config.minor : 1;
    return check_device("cuDeviceGetAttribute", device);
}

int cuDevicePrimaryCtxRetain(Context** context, int device) {
    ENTER("cuDevicePrimaryCtxRetain")
    if (const Result bad = check_device("cuDevicePrimaryCtxRetain", device)) return bad;
    *context = &driver().contexts[device];
    ++(*context)->references;
    return kSuccess;
}
int cuDevicePrimaryCtxRelease_v2(int device) {
    ENTER("cuDevicePrimaryCtxRelease")
    if (const Result bad = check_device("cuDevicePrimaryCtxRelease", device)) return bad;
    Context* context = &driver().contexts[device];
    if (context->references == 0) return violation("cuDevicePrimaryCtxRelease", "once too often", kInvalidContext);
    if (--context->references == 0) destroy(context);
    return kSuccess;
}
int cuCtxGetCurrent(Context** context) {
    ENTER("cuCtxGetCurrent")
    *context = t_current;
    return kSuccess;
}
int cuCtxSetCurrent(Context* context) {
    ENTER("cuCtxSetCurrent")
    if (context && (device_of(context) < 0 || device_of(context) >= kMaxDevices || context->references == 0))
        return violation("cuCtxSetCurrent", "no such context", kInvalidContext);
    t_current = context;
    return kSuccess;
}
int cuCtxSynchronize() {
    ENTER_CONTEXT("cuCtxSynchronize")
    return finish_all(t_current);
}

int cuStreamCreate(Stream** stream, unsigned flags) {
    ENTER_CONTEXT("cuStreamCreate")
    if (flags > 1) return violation("cuStreamCreate", "flags", kInvalidValue);
    *stream = make<Stream>();
    driver().streams.push_back(*stream);
    return kSuccess;
}
int cuStreamSynchronize(void* handle) {
    ENTER_CONTEXT("cuStreamSynchronize")
    auto* stream = find<Stream>("cuStreamSynchronize", handle, "stream");
    return stream ? finish(*stream) : kInvalidHandle;
}
int cuStreamDestroy_v2(void* handle) {
    ENTER_CONTEXT("cuStreamDestroy")
    auto* stream = find<Stream>("cuStreamDestroy", handle, "stream");
    if (!stream) return kInvalidHandle;
    finish(*stream);
    stream->alive = false;
    forget_dead_streams();
    return kSuccess;
}

int cuMemGetInfo_v2(std::size_t* free_bytes, std::size_t* total_bytes) {
    ENTER_CONTEXT("cuMemGetInfo")
    *total_bytes = driver().config.total_bytes;
    *free_bytes = *total_bytes - std::min<std::uint64_t>(*total_bytes, used_bytes(t_current));
    return kSuccess;
}
int cuMemAlloc_v2(std::uint64_t* address, std::size_t bytes) {
    ENTER_CONTEXT("cuMemAlloc")
    if (bytes == 0) return violation("cuMemAlloc", "0 bytes", kInvalidValue);
    const std::uint64_t total = driver().config.total_bytes;
    if (bytes > total - std::min(total, used_bytes(t_current))) return kOutOfMemory;
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t used = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    const std::size_t mapped = (used + page - 1) / page * page;
    void* memory = mmap(nullptr, mapped + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return kOutOfMemory;
    auto* start = static_cast<char*>(memory);
    // The page behind stays unmapped. Fresh memory is NaN in every float format.
    if (mprotect(start, mapped, PROT_READ | PROT_WRITE) != 0) return kOutOfMemory;
    std::memset(start, 0xff, mapped);
    *address = reinterpret_cast<std::uint64_t>(start + (mapped - used));
    driver().allocations[*address] = {t_current, bytes, mapped, start};
    return kSuccess;
}
int cuMemFree_v2(std::uint64_t address) {
    ENTER_CONTEXT("cuMemFree")
    const auto found = driver().allocations.find(address);
    if (found == driver().allocations.end() || found->second.context != t_current)
        return violation("cuMemFree", "no such allocation", kInvalidValue);
    for (const Stream* stream : driver().streams)
        if (stream->context == t_current && !stream->work.empty()) violation("cuMemFree", "work is pending", kSuccess);
    unmap(found->second);
    driver().allocations.erase(found);
    return kSuccess;
}

int cuMemHostAlloc(void** memory, std::size_t bytes, unsigned flags) {
    ENTER_CONTEXT("cuMemHostAlloc")
    constexpr unsigned kWriteCombined = 4;
    if (flags & kWriteCombined) return violation("cuMemHostAlloc", "slow to read", kInvalidValue);
    *memory = std::calloc(1, bytes);
    if (bytes == 0 || !*memory) return kOutOfMemory;
    driver().host_allocations[*memory] = {t_current, bytes};
    return kSuccess;
}
int cuMemFreeHost(void* memory) {
    ENTER_CONTEXT("cuMemFreeHost")
    const auto found = driver().host_allocations.find(memory);
    if (found == driver().host_allocations.end() || found->second.context != t_current)
        return violation("cuMemFreeHost", "no such allocation", kInvalidValue);
    for (const Stream* stream : driver().streams)
        if (stream->context == t_current && !stream->work.empty())
            violation("cuMemFreeHost", "work is pending", kSuccess);
    std::free(memory);
    driver().host_allocations.erase(found);
    return kSuccess;
}

static int copy(const char* entry, std::uint64_t device, std::size_t bytes, void* handle, void* to, const void* from) {
    auto* stream = find<Stream>(entry, handle, "stream");
    if (!stream) return kInvalidHandle;
    const auto check = [=] { return inside_allocation(device, bytes); };
    if (!check()) return violation(entry, std::to_string(bytes) + " bytes leave their allocation", kInvalidValue);
    stream->work.push_back([=] {
        if (!check()) return violation(entry, "the allocation is gone", kIllegalAddress);
        std::memcpy(to, from, bytes);
        return kSuccess;
    });
    return kSuccess;
}
int cuMemcpyHtoDAsync_v2(std::uint64_t to, const void* from, std::size_t bytes, void* stream) {
    ENTER_CONTEXT("cuMemcpyHtoDAsync")
    return copy("cuMemcpyHtoDAsync", to, bytes, stream, reinterpret_cast<void*>(to), from);
}
int cuMemcpyDtoHAsync_v2(void* to, std::uint64_t from, std::size_t bytes, void* stream) {
    ENTER_CONTEXT("cuMemcpyDtoHAsync")
    return copy("cuMemcpyDtoHAsync", from, bytes, stream, to, reinterpret_cast<const void*>(from));
}
int cuMemcpyDtoDAsync_v2(std::uint64_t to, std::uint64_t from, std::size_t bytes, void* stream) {
    ENTER_CONTEXT("cuMemcpyDtoDAsync")
    if (!inside_allocation(from, bytes)) return violation("cuMemcpyDtoDAsync", "the source", kInvalidValue);
    return copy("cuMemcpyDtoDAsync", to, bytes, stream, reinterpret_cast<void*>(to),
                reinterpret_cast<const void*>(from));
}

int cuEventCreate(Event** event, unsigned flags) {
    ENTER_CONTEXT("cuEventCreate")
    constexpr unsigned kDefault = 0, kBlockingSync = 1;
    if (flags != kDefault && flags != kBlockingSync) return violation("cuEventCreate", "flags", kInvalidValue);
    *event = make<Event>();
    return kSuccess;
}
int cuEventRecord(void* handle, void* stream_handle) {
    ENTER_CONTEXT("cuEventRecord")
    auto* event = find<Event>("cuEventRecord", handle, "event");
    auto* stream = find<Stream>("cuEventRecord", stream_handle, "stream");
    if (!event || !stream) return kInvalidHandle;
    event->recorded = true;
    event->happened = false;
    stream->work.push_back([event] {
        event->happened = true;
        event->at = std::chrono::steady_clock::now();
        return kSuccess;
    });
    return kSuccess;
}
int cuEventSynchronize(void* handle) {
    ENTER_CONTEXT("cuEventSynchronize")
    auto* event = find<Event>("cuEventSynchronize", handle, "event");
    if (!event) return kInvalidHandle;
    // One that was never recorded has nothing to wait for.
    if (event->recorded && !event->happened) return violation("cuEventSynchronize", "not waited for", kInvalidValue);
    return kSuccess;
}
int cuEventElapsedTime(float* milliseconds, void* begin_handle, void* end_handle) {
    ENTER_CONTEXT("cuEventElapsedTime")
    auto* begin = find<Event>("cuEventElapsedTime", begin_handle, "event");
    auto* end = find<Event>("cuEventElapsedTime", end_handle, "event");
    if (!begin || !end) return kInvalidHandle;
    if (!begin->happened || !end->happened) return violation("cuEventElapsedTime", "not waited for", kInvalidValue);
    *milliseconds = std::chrono::duration<float, std::milli>(end->at - begin->at).count();
    return kSuccess;
}
int cuEventDestroy_v2(void* handle) {
    ENTER_CONTEXT("cuEventDestroy")
    auto* event = find<Event>("cuEventDestroy", handle, "event");
    if (!event) return kInvalidHandle;
    event->alive = false;
    return kSuccess;
}

int cuModuleLoadData(Module** module, const void* image) {
    ENTER_CONTEXT("cuModuleLoadData")
    constexpr int kMachineCuda = 190;
    const auto* header = static_cast<const Elf64_Ehdr*>(image);
    if (std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_machine != kMachineCuda) return kInvalidImage;
    *module = make<Module>();
    (*module)->image = static_cast<const char*>(image);
    return kSuccess;
}
int cuModuleUnload(void* handle) {
    ENTER_CONTEXT("cuModuleUnload")
    auto* module = find<Module>("cuModuleUnload", handle, "module");
    if (!module) return kInvalidHandle;
    module->alive = false;
    for (const auto& [other, object] : driver().objects) {
        if (auto* f = dynamic_cast<Function*>(object.get()); f && f->module == module) f->alive = false;
        const auto* e = dynamic_cast<Executable*>(object.get());
        for (const Launch& l : e && e->alive ? e->launches : std::vector<Launch>{})
            if (l.function->module == module) return violation("cuModuleUnload", "a graph needs it", kSuccess);
    }
    return kSuccess;
}
int cuModuleGetFunction(Function** function, void* handle, const char* name) {
    ENTER_CONTEXT("cuModuleGetFunction")
    auto* module = find<Module>("cuModuleGetFunction", handle, "module");
    if (!module) return kInvalidHandle;
    if (!section(module->image, std::string(".text.") + name)) return kNotFound;
    *function = make<Function>();
    (*function)->module = module;
    (*function)->name = name;
    (*function)->params_bytes = params_bytes(module->image, name);
    (*function)->cluster_x = cluster_x(module->image, name);
    return kSuccess;
}
int cuFuncSetAttribute(void* handle, int attribute, int value) {
    ENTER_CONTEXT("cuFuncSetAttribute")
    constexpr int kMaxDynamicSharedSizeBytes = 8;
    auto* function = find<Function>("cuFuncSetAttribute", handle, "function");
    if (!function) return kInvalidHandle;
    if (attribute != kMaxDynamicSharedSizeBytes || value < 0 || static_cast<unsigned>(value) > most_shared_bytes())
        return violation("cuFuncSetAttribute", function->name + ": " + std::to_string(value), kInvalidValue);
    function->shared_limit = static_cast<unsigned>(value);
    return kSuccess;
}
int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned shared_bytes, void* handle, void** params,
                   void** extra) {
    ENTER_CONTEXT("cuLaunchKernel")
    auto* stream = find<Stream>("cuLaunchKernel", handle, "stream");
    if (!stream) return kInvalidHandle;
    Launch launch;
    const unsigned shape[7] = {grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes};
    if (const Result bad = prepare("cuLaunchKernel", function, shape, params, extra, launch)) return bad;
    stream->work.push_back([launch] { return run(launch); });
    return kSuccess;
}

int cuTensorMapEncodeTiled(void* map, unsigned element, unsigned rank, void* address, const std::uint64_t* dims,
                           const std::uint64_t* strides, const std::uint32_t* box_dims,
                           const std::uint32_t* element_strides, unsigned interleave, unsigned swizzle, unsigned,
                           unsigned fill) {
    const char* const entry = "cuTensorMapEncodeTiled";
    ENTER(entry)
    if (driver().config.major < 9) return violation(entry, "below compute capability 9.0", kInvalidValue);
    if (reinterpret_cast<std::uintptr_t>(map) % 64 != 0) return violation(entry, "the map's alignment", kInvalidValue);
    if (rank < 1 || rank > 5 || interleave != 0 || fill != 0) return violation(entry, "arguments", kInvalidValue);
    for (unsigned i = 0; i < rank; ++i)
        if (element_strides[i] != 1) return violation(entry, "element strides", kInvalidValue);
    const FakeCudaTiled tiled = {element, rank, swizzle, 0, reinterpret_cast<std::uint64_t>(address),
                                 dims,    strides, box_dims};
    char error[256] = {};
    if (driver().encoder(map, &tiled, error, sizeof error) == 0) return kSuccess;
    return violation(entry, error, kInvalidValue);
}

int cuGraphCreate(Graph** graph, unsigned flags) {
    ENTER_CONTEXT("cuGraphCreate")
    if (flags != 0) return violation("cuGraphCreate", "flags", kInvalidValue);
    *graph = make<Graph>();
    return kSuccess;
}

// CUDA_KERNEL_NODE_PARAMS_v2.
struct KernelNodeParams {
    void* function;
    unsigned shape[7];
    void **params, **extra;
    void *kernel, *context;
};

int cuGraphAddKernelNode_v2(Node** added, void* handle, Node* const* before, std::size_t num_before,
                            const KernelNodeParams* p) {
    const char* const entry = "cuGraphAddKernelNode";
    ENTER_CONTEXT(entry)
    auto* graph = find<Graph>(entry, handle, "graph");
    if (!graph) return kInvalidHandle;
    Launch launch;
    if (const Result bad = prepare(entry, p->function, p->shape, p->params, p->extra, launch)) return bad;
    auto* node = make<Node>();
    node->graph = graph;
    node->launch = launch;
    if (const Result bad = add_edges(entry, node, before, num_before)) return bad;
    graph->nodes.push_back(node);
    *added = node;
    return kSuccess;
}
// CUDA_MEMCPY3D_v2.
struct CopyNodeParams {
    struct End {
        std::size_t x, y, z, level;
        unsigned type;
        void* host;
        std::uint64_t device;
        void *array, *reserved;
        std::size_t pitch, height;
    } from, to;
    std::size_t width, height, depth;
};

int cuGraphAddMemcpyNode(Node** added, void* handle, Node* const* before, std::size_t num_before,
                         const CopyNodeParams* p, void* context) {
    const char* const entry = "cuGraphAddMemcpyNode";
    ENTER_CONTEXT(entry)
    auto* graph = find<Graph>(entry, handle, "graph");
    if (!graph) return kInvalidHandle;
    constexpr unsigned kHost = 1, kDevice = 2;
    if (context != t_current) return violation(entry, "the context", kInvalidContext);
    if (p->from.type != kHost || p->to.type != kDevice || p->height != 1 || p->depth != 1 || p->width == 0)
        return violation(entry, "arguments", kInvalidValue);
    if (!inside_host_allocation(p->from.host, p->width)) return violation(entry, "the source", kInvalidValue);
    if (!inside_allocation(p->to.device, p->width)) return violation(entry, "the destination", kInvalidValue);
    auto* node = make<Node>();
    node->graph = graph;
    node->launch.copy = {p->from.host, p->to.device, p->width};
    if (const Result bad = add_edges(entry, node, before, num_before)) return bad;
    graph->nodes.push_back(node);
    *added = node;
    return kSuccess;
}
int cuGraphInstantiateWithFlags(Executable** executable, void* handle, unsigned long long flags) {
    ENTER_CONTEXT("cuGraphInstantiate")
    auto* graph = find<Graph>("cuGraphInstantiate", handle, "graph");
    if (!graph || flags != 0) return kInvalidValue;
    *executable = make<Executable>();
    const auto ready = [](const Node* node) {
        for (const Node* b : node->before)
            if (!b->placed) return false;
        return !node->placed;
    };
    for (Node* node : graph->nodes) node->placed = false;
    while ((*executable)->launches.size() < graph->nodes.size()) {
        // The youngest that may run: an edge that is missing changes the order.
        for (auto node = graph->nodes.rbegin(); node != graph->nodes.rend(); ++node) {
            if (!ready(*node)) continue;
            (*node)->placed = true;
            (*executable)->launches.push_back((*node)->launch);
            break;
        }
    }
    return kSuccess;
}
int cuGraphDestroy(void* handle) {
    ENTER_CONTEXT("cuGraphDestroy")
    auto* graph = find<Graph>("cuGraphDestroy", handle, "graph");
    if (!graph) return kInvalidHandle;
    graph->alive = false;
    for (Node* node : graph->nodes) node->alive = false;
    return kSuccess;
}
int cuGraphLaunch(void* handle, void* stream_handle) {
    ENTER_CONTEXT("cuGraphLaunch")
    auto* executable = find<Executable>("cuGraphLaunch", handle, "executable graph");
    auto* stream = find<Stream>("cuGraphLaunch", stream_handle, "stream");
    if (!executable || !stream) return kInvalidHandle;
    // An executable graph in flight may be destroyed; the driver frees it when it is done.
    for (const Launch& launch : executable->launches) stream->work.push_back([launch] { return run(launch); });
    return kSuccess;
}
int cuGraphExecDestroy(void* handle) {
    ENTER_CONTEXT("cuGraphExecDestroy")
    auto* executable = find<Executable>("cuGraphExecDestroy", handle, "executable graph");
    if (!executable) return kInvalidHandle;
    executable->alive = false;
    return kSuccess;
}

}  // extern "C"
