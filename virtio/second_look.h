// Whether a queue that ran empty looks again a moment later before it asks for a doorbell.
#pragma once

#include <cstdint>

namespace hako::virtio {

/// A doorbell costs the guest an exit; a driver in the middle of a burst need not ring it. Where second looks
/// find nothing (a request and its answer, now and then a packet) they are left out for a while: what comes
/// in that moment waits for its end.
class SecondLook {
  public:
    /// The queue ran empty after `found` chains; `moment_passed`: Engine::moment_passed(). True: look again
    /// (Engine::schedule_soon()) before a doorbell is asked for.
    [[nodiscard]] bool wanted(std::uint32_t found, bool moment_passed) {
        if (looks_ == 0 && left_out_ > 0) {
            left_out_ -= found > 0 ? 1 : 0;
            return false;
        }
        if (found > 0) {
            looks_ = 1;
        } else if (looks_ > 0 && (moment_passed || ++looks_ > kMaxLooks)) {
            looks_ = 0;
            left_out_ = kLeftOut;
        }
        return looks_ > 0;
    }

  private:
    static constexpr std::uint32_t kLeftOut = 32;
    /// Something else may wake the engine again and again before the moment is over.
    static constexpr std::uint32_t kMaxLooks = 8;

    std::uint32_t looks_ = 0;     ///< since something was found
    std::uint32_t left_out_ = 0;  ///< how many are still to be left out
};

}  // namespace hako::virtio
