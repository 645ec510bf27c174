// How KVM tells which pages a guest has written.
#pragma once

#include <string_view>

namespace hako {

/// How KVM's log is read (KVM api.rst, 4.8 KVM_GET_DIRTY_LOG, 7.18 KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 and 8.29
/// KVM_CAP_DIRTY_LOG_RING).
enum class DirtyLogMode {
    kClassic,       ///< a read write-protects all pages again
    kManual,        ///< a page is protected when it is about to be copied; reading costs next to nothing
    kInitiallySet,  ///< manual, and the log begins without holding up the guest: pages are protected bit by
                    ///< bit
    kRing,          ///< vCPUs list what they write, and stand still while their list is full; chosen before
                    ///< there are vCPUs
};

/// As users name it.
[[nodiscard]] constexpr std::string_view text(DirtyLogMode mode) {
    switch (mode) {
        case DirtyLogMode::kClassic:
            return "classic";
        case DirtyLogMode::kManual:
            return "manual";
        case DirtyLogMode::kInitiallySet:
            return "initially-set";
        case DirtyLogMode::kRing:
            return "ring";
    }
    return "";
}

}  // namespace hako
