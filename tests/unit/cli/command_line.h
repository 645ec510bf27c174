// A command line as a test writes it.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "tools/hako/cli_command.h"

namespace hako::cli::test {

inline Result<Command> parse_words(std::vector<const char*> words) {
    words.insert(words.begin(), "hako");
    return parse(static_cast<int>(words.size()), words.data());
}

/// The error's text for `hako run --kernel k WORDS…`, or "" if it is accepted.
inline std::string run_error(std::initializer_list<const char*> words) {
    std::vector<const char*> all = {"run", "--kernel", "k"};
    all.insert(all.end(), words);
    const auto command = parse_words(all);
    return command ? "" : command.error().text();
}

}  // namespace hako::cli::test
