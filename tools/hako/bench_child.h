// A program that runs for `hako bench`, on pipes, and never longer than hako does.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako::bench {

/// A child process: its input and output are ours, what it says on stderr is kept. Killed with this object.
class Child {
  public:
    using Deadline = std::chrono::steady_clock::time_point;

    /// `words`: the program (looked for in PATH) and its arguments.
    static Result<Child> start(const std::vector<std::string>& words);

    Child(Child&& other) noexcept;
    Child& operator=(Child&&) = delete;
    ~Child();

    [[nodiscard]] ::pid_t pid() const { return pid_; }
    [[nodiscard]] const std::string& program() const { return program_; }

    Result<> write(std::string_view text);
    /// Appends what the child has written to `output`. False at the deadline, or when the output has ended.
    /// Fails once `output` is longer than a guest may make it.
    Result<bool> read(std::string& output, Deadline deadline);
    /// True once its output has ended.
    [[nodiscard]] bool ended() const { return ended_; }
    /// Waits for its end; the exit code, or 128 and the signal. Kills it at the deadline.
    int wait(Deadline deadline);
    /// The last line that it wrote to stderr.
    [[nodiscard]] std::string last_words() const;

  private:
    Child(std::string program, ::pid_t pid, Fd input, Fd output, Fd errors)
        : program_(std::move(program)),
          pid_(pid),
          input_(std::move(input)),
          output_(std::move(output)),
          errors_(std::move(errors)) {}

    std::string program_;
    ::pid_t pid_;
    Fd input_;
    Fd output_;
    Fd errors_;
    bool ended_ = false;
};

/// Runs a program to its end: what it wrote to stdout. Fails with its last words if it does not end well.
Result<std::string> run_program(const std::vector<std::string>& words, Child::Deadline deadline);

}  // namespace hako::bench
