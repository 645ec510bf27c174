// The request that the words of `hako ctl` make.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "tools/hako/ctl_verbs.h"
#include "vmm/base/result.h"

namespace hako::cli {

struct CtlRequest {
    std::string method;
    std::string target;  ///< path and query
    std::string body;
    std::vector<int> fds;  ///< numbers of open descriptors that go with it

    bool operator==(const CtlRequest&) const = default;
};

/// Words without "=" fill the verb's positionals. KEY=VALUE is a field: the value is JSON if it looks like
/// it, else a text; dots in the key lead into objects. A single @FILE is the whole body ("-": standard
/// input).
Result<CtlRequest> build_ctl_request(const CtlVerb& verb, std::span<const std::string> words);

}  // namespace hako::cli
