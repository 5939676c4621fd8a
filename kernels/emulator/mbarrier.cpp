#include "mbarrier.hpp"

#include <cstdio>

#include "sanitizer.hpp"

namespace pid::emu {

namespace {
// A spin loop over try_wait has this many turns in which nothing in the block moves before it counts as stuck.
constexpr unsigned kIdleTimeOuts = 4;

}  // namespace

void Mbarriers::check_place(const std::uint64_t* bar, const char* operation, Site site) {
    if (reinterpret_cast<std::uintptr_t>(bar) % 8 != 0)
        block_.fail(site, "%s: address %p is not a multiple of 8", operation, static_cast<const void*>(bar));
    if (!block_.in_shared(bar, 8))
        block_.fail(site, "%s: %p is not in shared memory", operation, static_cast<const void*>(bar));
}

MbarrierWord MbarrierWord::unpack(std::uint64_t bits) {
    MbarrierWord word;
    word.pending = static_cast<unsigned>(bits & kMaxCount);
    word.expected = static_cast<unsigned>(bits >> 20 & kMaxCount);
    word.bytes = static_cast<int>(static_cast<std::int64_t>(bits << 3) >> 43);
    word.phase = static_cast<unsigned>(bits >> 63);
    return word;
}

std::uint64_t MbarrierWord::pack() const {
    return pending | static_cast<std::uint64_t>(expected) << 20 |
           (static_cast<std::uint64_t>(static_cast<std::int64_t>(bytes)) & 0x1fffff) << 40 |
           static_cast<std::uint64_t>(phase) << 63;
}

void Mbarriers::reset() {
    records_.clear();
    progress_at_time_out_ = 0;
    idle_time_outs_ = 0;
}

Mbarriers::Record& Mbarriers::find(std::uint64_t* bar, const char* operation, Site site) {
    check_place(bar, operation, site);
    const auto found = records_.find(bar);
    if (found == records_.end())
        block_.fail(site, "%s: the mbarrier at shared memory + %td is not initialised", operation,
                     reinterpret_cast<char*>(bar) - block_.shared());
    if (*bar != found->second.word)
        block_.fail(site, "%s: the mbarrier initialised at %s:%d was overwritten", operation, found->second.site.file,
                     found->second.site.line);
    return found->second;
}

void Mbarriers::check_known(const Record& record, const char* operation, Site site) {
    if (Block::current() == &block_ || block_.cluster().phase() >= record.known_from) return;
    block_.fail(site, "%s from another CTA: no cluster barrier since the mbarrier was initialised at %s:%d", operation,
                record.site.file, record.site.line);
}

// Writes the word back; a phase with nothing left to wait for is complete.
void Mbarriers::store(std::uint64_t* bar, Record& record, MbarrierWord word) {
    block_.cluster().note_progress();
    const bool complete = word.pending == 0 && word.bytes == 0;
    if (complete) {
        word.phase ^= 1;
        word.pending = word.expected;
    }
    *bar = record.word = word.pack();
    if (!complete) return;
    for (const Waiter& waiter : record.waiting) block_.wake(*waiter.thread);
    record.waiting.clear();
}

void Mbarriers::init(std::uint64_t* bar, unsigned count, Site site) {
    check_place(bar, "mbarrier.init", site);
    if (count == 0 || count > MbarrierWord::kMaxCount)
        block_.fail(site, "mbarrier.init: count %u, at least 1 and at most %u", count, MbarrierWord::kMaxCount);
    const auto found = records_.find(bar);
    if (found != records_.end())
        block_.fail(site, "mbarrier.init: initialised before at %s:%d, and not invalidated", found->second.site.file,
                     found->second.site.line);
    sanitizer::written(bar, 8);
    MbarrierWord word;
    word.pending = word.expected = count;
    Record record;
    record.count = count;
    record.site = site;
    record.thread = Block::thread().linear;
    // What the thread does between its arrival and its wait is part of the next phase.
    record.known_from = block_.cluster().phase() + (Block::thread().cluster_arrived ? 2 : 1);
    *bar = record.word = word.pack();
    records_[bar] = record;
}

void Mbarriers::inval(std::uint64_t* bar, Site site) {
    if (!find(bar, "mbarrier.inval", site).waiting.empty())
        block_.fail(site, "mbarrier.inval: threads still wait for it");
    sanitizer::written(bar, 8);
    records_.erase(bar);
}

void Mbarriers::arrive(std::uint64_t* bar, unsigned bytes, Site site) {
    const char* operation = bytes ? "mbarrier.arrive.expect_tx" : "mbarrier.arrive";
    Record& record = find(bar, operation, site);
    check_known(record, operation, site);
    sanitizer::read(bar, 8);
    MbarrierWord word = MbarrierWord::unpack(record.word);
    if (word.pending == 0)
        block_.fail(site, "%s: all %u arrivals of this phase have come, and %d bytes are awaited: one arrival too many",
                     operation, record.count, word.bytes);
    const std::int64_t expected = static_cast<std::int64_t>(word.bytes) + bytes;
    if (expected > MbarrierWord::kMaxBytes)
        block_.fail(site, "%s: %lld bytes awaited, at most %d", operation, static_cast<long long>(expected),
                     MbarrierWord::kMaxBytes);
    word.bytes = static_cast<int>(expected);
    --word.pending;
    sanitizer::release(&record);
    store(bar, record, word);
}

void Mbarriers::complete_bytes(std::uint64_t* bar, unsigned bytes, Site site) {
    Record& record = find(bar, "mbarrier.complete_tx", site);
    MbarrierWord word = MbarrierWord::unpack(record.word);
    word.bytes -= static_cast<int>(bytes);
    if (word.bytes < -MbarrierWord::kMaxBytes)
        block_.fail(site, "mbarrier.complete_tx: %d bytes more than awaited", -word.bytes);
    sanitizer::release(&record);
    store(bar, record, word);
}

// True when the phase of `parity` is complete on return.
bool Mbarriers::suspend(std::uint64_t* bar, unsigned parity, bool gives_up, const char* operation, Site site) {
    if (parity > 1) block_.fail(site, "%s: parity %u", operation, parity);
    bool timed_out = false;
    for (;;) {
        Record& record = find(bar, operation, site);
        sanitizer::read(bar, 8);
        if (MbarrierWord::unpack(record.word).phase != parity) {
            sanitizer::acquire(&record);
            return true;
        }
        if (timed_out) return false;
        record.waiting.push_back({&Block::thread(), gives_up ? &timed_out : nullptr});
        block_.wait(operation, site);
    }
}

void Mbarriers::wait(std::uint64_t* bar, unsigned parity, Site site) {
    suspend(bar, parity, false, "mbarrier_wait_parity", site);
}

bool Mbarriers::try_wait(std::uint64_t* bar, unsigned parity, Site site) {
    return suspend(bar, parity, true, "mbarrier_try_wait_parity", site);
}

void Mbarriers::fence_init() {
    for (auto& [bar, record] : records_)
        if (record.thread == Block::thread().linear) record.fenced = true;
}

void Mbarriers::check_async(std::uint64_t* bar, const char* operation, Site site) {
    const Record& record = find(bar, operation, site);
    check_known(record, operation, site);
    sanitizer::read(bar, 8);
    if (!record.fenced)
        block_.fail(site, "%s: the mbarrier initialised at %s:%d has not been fenced for the async proxy", operation,
                     record.site.file, record.site.line);
}

bool Mbarriers::time_out() {
    const std::uint64_t progress = block_.cluster().progress();
    if (progress != progress_at_time_out_) idle_time_outs_ = 0;
    progress_at_time_out_ = progress;
    if (++idle_time_outs_ > kIdleTimeOuts) return false;
    bool any = false;
    for (auto& [bar, record] : records_) {
        std::vector<Waiter> staying;
        for (const Waiter& waiter : record.waiting) {
            if (!waiter.timed_out) {
                staying.push_back(waiter);
                continue;
            }
            *waiter.timed_out = true;
            block_.wake(*waiter.thread);
            any = true;
        }
        record.waiting.swap(staying);
    }
    return any;
}

std::string Mbarriers::state() const {
    std::string text;
    for (const auto& [bar, record] : records_) {
        if (record.waiting.empty()) continue;
        const MbarrierWord word = MbarrierWord::unpack(record.word);
        char line[240];
        std::snprintf(line, sizeof line,
                      " mbarrier at shared memory + %td (%s:%d): phase %u lacks %u of %u arrivals and %d bytes;",
                      reinterpret_cast<const char*>(bar) - block_.shared(), record.site.file, record.site.line,
                      word.phase, word.pending, word.expected, word.bytes);
        text += line;
    }
    return text;
}

}  // namespace pid::emu
