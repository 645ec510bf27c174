// Errors are values: Result<T> carries a T or an Error with a chain of causes.
#pragma once

#include <fmt/core.h>

#include <cerrno>
#include <expected>
#include <string>
#include <utility>
#include <vector>

namespace hako {

/// Who can mend it. Decides the exit code of `hako run` and the HTTP status.
enum class Fault {
    kInput,     ///< The user's input: arguments, kernel, image. Exit code 2, HTTP 400.
    kMissing,   ///< The user named what is not there. Exit code 2, HTTP 404.
    kConflict,  ///< The input is good, but not beside what is there: an id is taken. Exit code 2, HTTP 409.
    kBusy,      ///< The input is good, once what was asked for before is done. Exit code 2, HTTP 429.
    kState,     ///< The input is good, but not now: the VM is in the wrong state. Exit code 2, HTTP 500.
    kHost,      ///< The host or hako itself: no KVM, no memory, an I/O error. Exit code 1, HTTP 500.
};

/// A chain of causes, outermost first; the last one says what the user can do.
class [[nodiscard]] Error {
  public:
    Error(Fault fault, std::string message) : fault_(fault) { chain_.push_back(std::move(message)); }

    [[nodiscard]] Fault fault() const { return fault_; }
    [[nodiscard]] const std::vector<std::string>& chain() const { return chain_; }
    /// The whole chain on one line: "outer: inner: root".
    [[nodiscard]] std::string text() const;

    /// Puts what was being done in front of why it failed.
    Error&& wrap(std::string outer) && {
        chain_.insert(chain_.begin(), std::move(outer));
        return std::move(*this);
    }
    /// The same failure, seen as the fault of somebody else.
    Error&& as(Fault fault) && {
        fault_ = fault;
        return std::move(*this);
    }

  private:
    Fault fault_;
    std::vector<std::string> chain_;
};

template <typename T = void>
using Result = std::expected<T, Error>;

/// `return fail_input("--memory {}: must be at least {} MiB", …)`
template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail_input(fmt::format_string<Args...> format, Args&&... args) {
    return std::unexpected(Error(Fault::kInput, fmt::format(format, std::forward<Args>(args)...)));
}

template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail_missing(fmt::format_string<Args...> format, Args&&... args) {
    return std::unexpected(Error(Fault::kMissing, fmt::format(format, std::forward<Args>(args)...)));
}

template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail_conflict(fmt::format_string<Args...> format, Args&&... args) {
    return std::unexpected(Error(Fault::kConflict, fmt::format(format, std::forward<Args>(args)...)));
}

template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail_busy(fmt::format_string<Args...> format, Args&&... args) {
    return std::unexpected(Error(Fault::kBusy, fmt::format(format, std::forward<Args>(args)...)));
}

template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail_state(fmt::format_string<Args...> format, Args&&... args) {
    return std::unexpected(Error(Fault::kState, fmt::format(format, std::forward<Args>(args)...)));
}

template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail_host(fmt::format_string<Args...> format, Args&&... args) {
    return std::unexpected(Error(Fault::kHost, fmt::format(format, std::forward<Args>(args)...)));
}

/// "No such file or directory (ENOENT)" for an errno value.
[[nodiscard]] std::string errno_text(int error);

/// A failed system call: the message, then the reason from `error` (errno of the call).
template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail_errno(int error, fmt::format_string<Args...> format,
                                                Args&&... args) {
    return std::unexpected(
        Error(Fault::kHost, errno_text(error)).wrap(fmt::format(format, std::forward<Args>(args)...)));
}

}  // namespace hako

/// Evaluates to the value of a Result, or returns its Error from the enclosing function.
#define HAKO_TRY(...)                                                               \
    ({                                                                              \
        auto hako_result_ = (__VA_ARGS__);                                          \
        if (!hako_result_) return std::unexpected(std::move(hako_result_).error()); \
        *std::move(hako_result_);                                                   \
    })

/// The same, with what was being done put in front of the cause: HAKO_TRY_WRAP(f(), "disk {}", path).
#define HAKO_TRY_WRAP(expression, ...)                                                              \
    ({                                                                                              \
        auto hako_result_ = (expression);                                                           \
        if (!hako_result_)                                                                          \
            return std::unexpected(std::move(hako_result_).error().wrap(fmt::format(__VA_ARGS__))); \
        *std::move(hako_result_);                                                                   \
    })
