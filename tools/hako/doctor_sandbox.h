// What the kernel offers to confine a running hako: Landlock and seccomp.
#pragma once

#include "tools/hako/doctor_check.h"

namespace hako::doctor {

/// Landlock's ABI version (1 and up), or -errno.
int probe_landlock();
Check judge_landlock(int version_or_error);

struct SeccompProbe {
    bool filters = false;  ///< SECCOMP_SET_MODE_FILTER can kill the process
    int errno_value = 0;   ///< why not
};
SeccompProbe probe_seccomp();
Check judge_seccomp(const SeccompProbe& probe);

}  // namespace hako::doctor
