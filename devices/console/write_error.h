// What follows from a write that failed.
#pragma once

#include <cerrno>
#include <string_view>

#include "devices/console/outlet.h"
#include "vmm/base/log.h"
#include "vmm/base/result.h"

namespace hako::console {

/// A full disk may have room again later: only what was being written is lost. A reader that is gone stays
/// gone, and the output with it.
inline void settle_write_error(Outlet& outlet, bool regular_file, std::string_view name, LogLimit& limit) {
    if (!outlet.attached() || outlet.error() == 0) return;
    if (regular_file) {
        limit.warn("{}: output is lost: {}", name, errno_text(outlet.error()));
        return outlet.skip();
    }
    if (outlet.error() != EPIPE) limit.warn("{}: no more output: {}", name, errno_text(outlet.error()));
    outlet.detach();
}

}  // namespace hako::console
