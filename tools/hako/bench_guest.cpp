#include "tools/hako/bench_guest.h"

#include <fmt/core.h>

#include <charconv>

namespace hako::bench {
namespace {

using Clock = std::chrono::steady_clock;

/// What is typed before a shell reads may be lost: it is typed again so often.
constexpr std::chrono::seconds kKnock{2};
constexpr std::chrono::seconds kSetUpLimit{60};

/// A shell without manners, and what programs expect to be mounted. Where it is already, mount fails.
constexpr std::string_view kSetUp =
    "{ stty -echo -onlcr; PS1=; PS2=; echo 1 >/proc/sys/kernel/printk; mount -t proc proc /proc; "
    "mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp; cd /tmp; "
    "ip link set lo up; } 2>/dev/null; export PATH=/usr/sbin:/usr/bin:/sbin:/bin";

std::string without_returns(std::string_view text) {
    std::string out;
    for (const char c : text)
        if (c != '\r') out += c;
    return out;
}

}  // namespace

std::string marked(std::string_view command, std::uint64_t number) {
    return fmt::format("echo HAKO\\-BEGIN {0}; {1}\necho HAKO\\-END {0} $?\n", number, command);
}

std::optional<Answer> find_answer(std::string_view console, std::uint64_t number) {
    const std::string begin = fmt::format("HAKO-BEGIN {}", number);
    const std::string end = fmt::format("HAKO-END {} ", number);
    const std::size_t from = console.find(begin);
    if (from == std::string_view::npos) return std::nullopt;
    std::string_view rest = console.substr(from + begin.size());
    const std::size_t line = rest.find('\n');
    const std::size_t to = rest.find(end);
    if (line == std::string_view::npos || to == std::string_view::npos || to <= line) return std::nullopt;
    const std::string_view code = rest.substr(to + end.size());
    const std::size_t code_length = code.find_first_of("\r\n");
    if (code_length == std::string_view::npos) return std::nullopt;
    Answer answer{.text = without_returns(rest.substr(line + 1, to - line - 1)), .code = -1};
    std::from_chars(code.data(), code.data() + code_length, answer.code);
    return answer;
}

Result<Guest> Guest::start(std::string name, const std::vector<std::string>& words) {
    return Guest(std::move(name), HAKO_TRY(Child::start(words)));
}

std::unexpected<Error> Guest::gone() const {
    return fail_host("{}: its VM ended: {}", name_, child_.last_words());
}

Result<> Guest::wait_for_shell(std::chrono::seconds limit) {
    const auto deadline = Clock::now() + limit;
    std::string console;
    const std::uint64_t number = ++commands_;
    for (;;) {
        HAKO_TRY(child_.write(marked(":", number)));
        const auto knock = Clock::now() + kKnock;
        while (HAKO_TRY(child_.read(console, knock))) {
        }
        if (find_answer(console, number)) break;
        if (child_.ended()) return gone();
        if (Clock::now() > deadline)
            return fail_input(
                "{}: no shell answers on the guest's serial port within {} s: give a --cmdline that ends "
                "in one, such as \"root=/dev/vda console=ttyS0 init=/bin/sh\"",
                name_, limit.count());
    }
    HAKO_TRY(run(kSetUp, kSetUpLimit));
    return {};
}

Result<std::string> Guest::run(std::string_view command, std::chrono::seconds limit,
                               const std::function<void(std::string_view)>& on_line) {
    const auto deadline = Clock::now() + limit;
    const std::uint64_t number = ++commands_;
    HAKO_TRY(child_.write(marked(command, number)));
    std::string console;
    std::size_t seen = 0;
    for (;;) {
        const bool more = HAKO_TRY(child_.read(console, deadline));
        for (std::size_t end = console.find('\n', seen); end != std::string::npos;
             end = console.find('\n', seen)) {
            if (on_line) on_line(std::string_view(console).substr(seen, end - seen));
            seen = end + 1;
        }
        if (const auto answer = find_answer(console, number)) {
            if (answer->code == 0) return answer->text;
            return fail_host("{}: in the guest, `{}` ended with code {}: {}", name_, command, answer->code,
                             answer->text);
        }
        if (child_.ended()) return gone();
        if (!more)
            return fail_host("{}: in the guest, `{}` did not end within {} s", name_, command, limit.count());
    }
}

}  // namespace hako::bench
