// A guest that does what it is told on its serial port.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "tools/hako/bench_child.h"
#include "vmm/base/result.h"

namespace hako::bench {

/// What a command printed between its marks in `console`, once the end mark is there; and its exit code.
struct Answer {
    std::string text;
    int code = 0;
};
std::optional<Answer> find_answer(std::string_view console, std::uint64_t number);
/// The lines that have a shell run `command` between the marks `number`. A terminal's echo of the lines is
/// not taken for the marks. Without quotes: half of a line may be lost before a shell reads, and one quote
/// too many would turn all later ones around.
std::string marked(std::string_view command, std::uint64_t number);

/// A VM whose serial port is our pipe, with a root shell behind it. Its kernel, and so its output, is
/// hostile.
class Guest {
  public:
    /// Starts the VMM; the guest boots meanwhile.
    static Result<Guest> start(std::string name, const std::vector<std::string>& words);

    /// "hako", "QEMU": for messages.
    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] ::pid_t pid() const { return child_.pid(); }

    /// Returns once there is a shell, with /proc, /sys, /dev and a writable /tmp.
    Result<> wait_for_shell(std::chrono::seconds limit);
    /// Runs a command; what it printed. Fails if it does, or at the time limit. `on_line` sees each line of
    /// output as it comes.
    Result<std::string> run(std::string_view command, std::chrono::seconds limit,
                            const std::function<void(std::string_view)>& on_line = {});

  private:
    Guest(std::string name, Child child) : name_(std::move(name)), child_(std::move(child)) {}

    [[nodiscard]] std::unexpected<Error> gone() const;

    std::string name_;
    Child child_;
    std::uint64_t commands_ = 0;
};

}  // namespace hako::bench
