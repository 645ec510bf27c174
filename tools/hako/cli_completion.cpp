#include "tools/hako/cli_completion.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <string_view>
#include <vector>

namespace hako::cli {
namespace {

/// `text` in single quotes for a shell.
std::string shell_quoted(std::string_view text) {
    std::string out = "'";
    for (const char c : text) {
        if (c == '\'') {
            out += "'\\''";
        } else {
            out += c;
        }
    }
    return out + "'";
}

/// The same with what _arguments of zsh gives a meaning of its own taken away.
std::string zsh_text(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == ':' || c == '[' || c == ']' || c == '\\') out += '\\';
        out += c;
    }
    return out;
}

std::vector<std::string> names(const OptionView& option) {
    std::vector<std::string> result;
    if (!option.short_name.empty()) result.push_back(option.short_name);
    if (!option.long_name.empty()) result.push_back(option.long_name);
    return result;
}

std::vector<std::string> command_names(const CLI::App& root) {
    std::vector<std::string> result;
    for (const CLI::App* command : commands(root))
        result.push_back(command->get_name());
    return result;
}

/// The `case` branches of one command: first what follows an option that has a value, then all its words.
void append_bash_cases(std::string& out, const std::string& command, const std::vector<OptionView>& options) {
    std::vector<std::string> words;
    for (const OptionView& option : options) {
        const auto own = names(option);
        words.insert(words.end(), own.begin(), own.end());
        if (own.empty()) {
            const auto choices = option.choices();
            words.insert(words.end(), choices.begin(), choices.end());
        } else if (option.takes_path()) {
            out += fmt::format("        '{} {}') compopt -o default; return ;;\n", command, option.long_name);
        } else if (!option.value.empty()) {
            out += fmt::format("        '{} {}') words='{}' ;;\n", command, option.long_name,
                               fmt::join(option.choices(), " "));
        }
    }
    out += fmt::format("        '{} '*) words='{}' ;;\n", command, fmt::join(words, " "));
}

}  // namespace

std::string bash_completion(const App& app) {
    const auto names_of_commands = command_names(app.root);
    std::string out = fmt::format(R"(# bash completion for hako
_hako() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" command='' words='' word
    COMPREPLY=()
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$word" in {}) command="$word"; break ;; esac
    done
    case "$command $previous" in
)",
                                  fmt::join(names_of_commands, "|"));
    for (const CLI::App* command : commands(app.root))
        append_bash_cases(out, command->get_name(), visible_options(*command));
    std::vector<std::string> words = names_of_commands;
    for (const OptionView& option : visible_options(app.root))
        for (const std::string& name : names(option))
            words.push_back(name);
    out += fmt::format("        *) words='{}' ;;\n", fmt::join(words, " "));
    out += R"(    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    [[ "${COMPREPLY[*]}" == *= ]] && compopt -o nospace
    return 0
}
complete -F _hako hako
)";
    return out;
}

std::string zsh_completion(const App& app) {
    std::string out = "#compdef hako\n_hako() {\n    local -a commands\n    commands=(\n";
    for (const CLI::App* command : commands(app.root))
        out += fmt::format("        {}\n",
                           shell_quoted(command->get_name() + ":" + zsh_text(command->get_description())));
    out += "    )\n    if (( CURRENT == 2 )); then\n        _describe command commands\n        _arguments";
    for (const OptionView& option : visible_options(app.root))
        out += fmt::format(
            " {}", shell_quoted(fmt::format("{}[{}]", option.long_name, zsh_text(option.description))));
    out += "\n        return\n    fi\n    local command=$words[2]\n    shift words\n    (( CURRENT-- ))\n";
    out += "    case $command in\n";
    for (const CLI::App* command : commands(app.root)) {
        out += fmt::format("        {}) _arguments", command->get_name());
        for (const OptionView& option : visible_options(*command)) {
            std::string action;
            const auto choices = option.choices();
            if (option.takes_path()) {
                action = ":" + zsh_text(option.value) + ":_files";
            } else if (!choices.empty()) {
                action = fmt::format(":{}:({})", zsh_text(option.value), fmt::join(choices, " "));
            } else if (!option.value.empty()) {
                action = ":" + zsh_text(option.value) + ":";
            }
            if (names(option).empty()) {
                out += " \\\n            " + shell_quoted("1" + action);
            } else {
                for (const std::string& name : names(option))
                    out += " \\\n            " +
                           shell_quoted(fmt::format("*{}[{}]{}", name, zsh_text(option.description), action));
            }
        }
        out += " ;;\n";
    }
    out += "    esac\n}\n_hako \"$@\"\n";
    return out;
}

std::string fish_completion(const App& app) {
    std::string out = "# fish completion for hako\ncomplete -c hako -f\n";
    const auto append = [&out](const std::string& condition, const OptionView& option) {
        out += fmt::format("complete -c hako -n {}", shell_quoted(condition));
        if (!option.short_name.empty()) out += " -s " + option.short_name.substr(1);
        if (!option.long_name.empty()) out += " -l " + option.long_name.substr(2);
        if (option.takes_path()) {
            out += " -r -F";
        } else if (!option.value.empty()) {
            const auto choices = option.choices();
            if (!option.long_name.empty()) out += " -x";
            if (!choices.empty())
                out += fmt::format(" -a {}", shell_quoted(fmt::format("{}", fmt::join(choices, " "))));
        }
        out += fmt::format(" -d {}\n", shell_quoted(option.description));
    };
    for (const CLI::App* command : commands(app.root))
        out += fmt::format("complete -c hako -n __fish_use_subcommand -a {} -d {}\n", command->get_name(),
                           shell_quoted(command->get_description()));
    for (const OptionView& option : visible_options(app.root))
        append("__fish_use_subcommand", option);
    for (const CLI::App* command : commands(app.root))
        for (const OptionView& option : visible_options(*command))
            append("__fish_seen_subcommand_from " + command->get_name(), option);
    return out;
}

}  // namespace hako::cli
