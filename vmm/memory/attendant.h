// Who works beside the guest on its memory, as long as it is mapped.
#pragma once

namespace hako {

/// Belongs to the memory: it ends, and so does what it does on threads of its own, before memory is unmapped.
class MemoryAttendant {
  public:
    MemoryAttendant() = default;
    MemoryAttendant(const MemoryAttendant&) = delete;
    MemoryAttendant& operator=(const MemoryAttendant&) = delete;
    virtual ~MemoryAttendant() = default;
    /// The guest is about to run for the first time.
    virtual void guest_runs() = 0;
};

}  // namespace hako
