// Why a step of a migration did not happen: the events of docs/migration.md.
#pragma once

#include <string_view>

#include "vmm/base/result.h"

namespace hako::migration {

enum class Event : unsigned char {
    kLost,       ///< the connection is gone
    kRefused,    ///< the peer said REFUSE
    kAborted,    ///< the peer said ABORT
    kTimeout,    ///< the peer was silent, or the migration took longer than it may
    kCancelled,  ///< somebody here asked for it
    kLocal,      ///< this host or machine could not
    kGarbage,    ///< the peer broke the protocol
};

/// "the connection is lost" and the like.
[[nodiscard]] constexpr std::string_view event_name(Event event) {
    switch (event) {
        case Event::kLost:
            return "connection lost";
        case Event::kRefused:
            return "refused by the peer";
        case Event::kAborted:
            return "given up by the peer";
        case Event::kTimeout:
            return "timeout";
        case Event::kCancelled:
            return "cancelled";
        case Event::kLocal:
            return "local error";
        case Event::kGarbage:
            return "the peer broke the protocol";
    }
    return "";
}

struct [[nodiscard]] Failure {
    Event event;
    Error error;

    Failure(Event which, Error why) : event(which), error(std::move(why)) {}
    /// What fails here is local unless somebody says otherwise. Not explicit, for HAKO_TRY.
    Failure(Error why) : Failure(Event::kLocal, std::move(why)) {}  // NOLINT(google-explicit-constructor)

    Failure&& wrap(std::string outer) && {
        (void)std::move(error).wrap(std::move(outer));  // in place
        return std::move(*this);
    }
};

template <typename T = void>
using Outcome = std::expected<T, Failure>;

template <typename... Args>
[[nodiscard]] std::unexpected<Failure> fail_as(Event event, fmt::format_string<Args...> format,
                                               Args&&... args) {
    return std::unexpected(
        Failure(event, Error(Fault::kHost, fmt::format(format, std::forward<Args>(args)...))));
}

}  // namespace hako::migration
