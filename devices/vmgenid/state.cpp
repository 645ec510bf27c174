#include "devices/vmgenid/state.h"

#include <sys/random.h>

#include <cerrno>

namespace hako::vmgenid {

Result<State> fresh() {
    State state;
    // So few bytes come whole.
    if (::getrandom(state.id.data(), state.id.size(), 0) < 0)
        return fail_errno(errno, "the host gives no random bytes for the VM generation ID");
    return state;
}

}  // namespace hako::vmgenid
