// What `hako ctl` can say: one verb for each endpoint of the REST API.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

namespace hako::cli {

/// An argument without a name: what it stands for in the request's body.
struct CtlPositional {
    enum class Kind {
        kNone,
        kText,
        kSize,     ///< "2G" or bytes: a number of bytes
        kSwitch,   ///< "on" or "off": a boolean
        kFileUrl,  ///< a path: "file://" and the absolute path
    };
    std::string_view field;
    Kind kind = Kind::kNone;
};

struct CtlVerb {
    enum class Body {
        kNone,    ///< no arguments
        kQuery,   ///< KEY=VALUE arguments go behind a question mark
        kObject,  ///< KEY=VALUE arguments are fields
        kFile,    ///< one argument, a file with the body
    };
    std::string_view name;
    bool get;               ///< GET, otherwise PUT
    std::string_view path;  ///< "/api/v1/vm.info"
    Body body;
    std::array<CtlPositional, 2> positionals;
    std::string_view help;
};

[[nodiscard]] std::span<const CtlVerb> ctl_verbs();
/// Null: there is no such verb.
[[nodiscard]] const CtlVerb* find_ctl_verb(std::string_view name);
/// "add-disk PATH [KEY=VALUE...]"
[[nodiscard]] std::string ctl_usage(const CtlVerb& verb);

}  // namespace hako::cli
