// Where other threads see the machine: it cannot go while one of them looks.
#pragma once

#include <mutex>

namespace hako {

class Machine;

class MachineWindow {
  public:
    /// Control thread. The machine stays until close().
    void open(const Machine& machine) { set(&machine); }
    /// Control thread. Waits for those who look.
    void close() { set(nullptr); }

    /// Any thread: calls `visit` with the machine, which must not take long. False if there is none.
    template <typename Visit>
    bool look(Visit visit) const {
        const std::lock_guard lock(mutex_);
        if (machine_ == nullptr) return false;
        visit(*machine_);
        return true;
    }

  private:
    void set(const Machine* machine) {
        const std::lock_guard lock(mutex_);
        machine_ = machine;
    }

    mutable std::mutex mutex_;
    const Machine* machine_ = nullptr;
};

}  // namespace hako
