// Standard input and output as descriptors of our own.
#pragma once

#include "vmm/base/fd.h"

namespace hako::console {

struct Stream {
    Fd fd;                     ///< empty: there is none
    bool nonblocking = false;  ///< O_NONBLOCK is set; if not, poll before each short read or write
};

/// A duplicate of `fd` that can be used without blocking where that is possible. O_NONBLOCK belongs to the
/// open file, which a shell shares with us: a terminal or pipe is therefore opened anew rather than switched.
Stream duplicate(int fd, int access_mode);

/// Whether poll(2) says `fd` is ready for `events` now.
bool ready(int fd, short events);

/// Makes writes into a broken pipe or beyond a file size limit fail instead of killing the process.
void ignore_write_signals();

}  // namespace hako::console
