#include "sanitizer.hpp"

#if defined(PID_EMU_ASAN) || defined(PID_EMU_TSAN)
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernel.hpp"

extern "C" void __sanitizer_symbolize_pc(void* pc, const char* format, char* text, std::size_t bytes);

namespace pid::emu::sanitizer {

namespace {
struct Report {
    bool any = false;
    char text[1500] = "";
};
thread_local Report t_report;

// Keeps the first report of a block. One outside of a block has nobody to tell it: the process ends.
Report* fresh_report() {
    if (!g_block) {
        std::fputs("pid emulator: a sanitizer's report outside of a kernel\n", stderr);
        std::_Exit(66);
    }
    if (t_report.any) return nullptr;
    t_report.any = true;
    return &t_report;
}
}  // namespace

bool reported() { return t_report.any; }

const char* take_report() {
    t_report.any = false;
    return t_report.text;
}

#if defined(PID_EMU_ASAN)
namespace {
// `text` is the whole report; its first paragraph says what was done and where.
void on_address_report(const char* text) {
    Report* report = fresh_report();
    if (!report) return;
    const char* start = std::strstr(text, "ERROR: ");
    start = start ? start + std::strlen("ERROR: ") : text;
    const char* end = std::strstr(start, "\n\n");
    const auto length = end ? end - start : static_cast<std::ptrdiff_t>(std::strlen(start));
    std::snprintf(report->text, sizeof report->text, "%.*s", static_cast<int>(length), start);
}
}  // namespace

void start() { __asan_set_error_report_callback(on_address_report); }
#endif

#if defined(PID_EMU_TSAN)
namespace {
// What one side of a race did, and the calls that led there, innermost first.
void describe_access(void* race, unsigned long index, Report& report) {
    int thread = 0, size = 0, write = 0, atomic = 0;
    void* address = nullptr;
    void* trace[8] = {};
    if (!__tsan_get_report_mop(race, index, &thread, &address, &size, &write, &atomic, trace, 8)) return;
    char* text = report.text;
    const auto append = [&](const char* format, auto... values) {
        const std::size_t used = std::strlen(text);
        std::snprintf(text + used, sizeof report.text - used, format, values...);
    };
    append("\n  %s%s of %d bytes at %p", atomic ? "atomic " : "", write ? "write" : "read", size, address);
    for (void* pc : trace) {
        char frame[300];
        if (!pc) break;
        // A return address: one byte before it is the call.
        __sanitizer_symbolize_pc(static_cast<char*>(pc) - 1, "%f %s:%l", frame, sizeof frame);
        append("\n    %s", frame);
    }
}
}  // namespace

void start() {}
#endif

}  // namespace pid::emu::sanitizer

#if defined(PID_EMU_TSAN)
// ThreadSanitizer calls this for each report, after printing it.
extern "C" void __tsan_on_report(void* race) {
    using namespace pid::emu::sanitizer;
    // The Rust side synchronises by means that ThreadSanitizer does not see.
    if (!pid::emu::g_block) return;
    Report* report = fresh_report();
    if (!report) return;
    std::strcpy(report->text, "ThreadSanitizer: data race");
    for (unsigned long i = 0; i < 2; ++i) describe_access(race, i, *report);
}
#endif

#if defined(PID_EMU_ASAN)
extern "C" void __ubsan_get_current_report_data(const char** kind, const char** message, const char** file,
                                                unsigned* line, unsigned* column, char** address);
// UndefinedBehaviorSanitizer calls this for each report, once for each place in the source.
extern "C" void __ubsan_on_report() {
    using namespace pid::emu::sanitizer;
    Report* report = fresh_report();
    if (!report) return;
    const char *kind = "", *message = "", *file = "";
    unsigned line = 0, column = 0;
    char* address = nullptr;
    __ubsan_get_current_report_data(&kind, &message, &file, &line, &column, &address);
    std::snprintf(report->text, sizeof report->text, "UndefinedBehaviorSanitizer: %s: %s:%u: %s", kind, file, line, message);
}
#endif
#endif
