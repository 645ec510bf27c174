// How long each side waits for the other. None of them is what keeps two VMs from running: locks and the
// commit point do.
#pragma once

#include "migration/transport/wait.h"

namespace hako::migration {

struct Timeouts {
    milliseconds connect{10'000};  ///< of one connection, and its first frame
    milliseconds prepare{60'000};  ///< HELLO until ACCEPT: a big VM is built in it
    milliseconds silence{30'000};  ///< nothing moves on a connection
    milliseconds ping{5'000};      ///< the source says at least this often that it is there
    milliseconds ready{30'000};    ///< STATE until READY
    milliseconds handover{5'000};  ///< each of the steps from READY on
    milliseconds running{30'000};  ///< GO until RUNNING
    milliseconds locks{10'000};  ///< the source gets its locks back; longer than the destination's `handover`
    milliseconds retry{1'000};   ///< between two attempts to go on with a postcopy
    milliseconds farewell{1'000};  ///< ABORT, and the peer's reason
};

}  // namespace hako::migration
