// async: what a block does beside its threads. A block without such work has no engine.
#pragma once
#include <string>

namespace pid::emu {

class AsyncEngine {
public:
    virtual ~AsyncEngine() = default;
    // A block begins.
    virtual void reset() = 0;
    // Every thread of the cluster is stuck: lets one piece of work land. False when there is none.
    virtual bool deliver() = 0;
    // The same, with nothing to land anywhere: ends waits that may give up. False when there are none, or they gave up
    // often and nothing came of it.
    virtual bool time_out() = 0;
    // All threads have ended: finishes what may finish by itself, and names what should have been waited for.
    virtual std::string finish() = 0;
    // For the deadlock report.
    virtual std::string state() const = 0;
};

}  // namespace pid::emu
