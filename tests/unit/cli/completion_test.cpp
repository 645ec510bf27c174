#include <doctest/doctest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <utility>

#include "tools/hako/cli_completion.h"

using namespace hako::cli;

namespace {

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// Output and exit status of a script run by bash.
std::pair<std::string, int> bash(const std::string& script, const char* option) {
    char path[] = "/tmp/hako-completion-XXXXXX";
    const int fd = ::mkstemp(path);
    REQUIRE(fd >= 0);
    REQUIRE(::write(fd, script.data(), script.size()) == static_cast<ssize_t>(script.size()));
    ::close(fd);
    std::FILE* pipe = ::popen(("bash " + std::string(option) + " " + path + " 2>&1").c_str(), "r");
    REQUIRE(pipe != nullptr);
    std::string output;
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe))
        output += static_cast<char>(c);
    const int status = ::pclose(pipe);
    ::unlink(path);
    return {output, status};
}

/// What bash offers at the end of a line that is given as the words of an array.
std::string offers(const std::string& words, int index) {
    const App app;
    const std::string script = bash_completion(app) + "compopt() { :; }\nCOMP_WORDS=(" + words +
                               ")\nCOMP_CWORD=" + std::to_string(index) +
                               "\n_hako\necho \"${COMPREPLY[*]}\"\n";
    const auto [output, status] = bash(script, "");
    CHECK(status == 0);
    return output;
}

}  // namespace

TEST_CASE("each completion script knows every command, option and choice") {
    const App app;
    const std::string scripts[] = {bash_completion(app), zsh_completion(app)};
    const std::string fish = fish_completion(app);
    for (const CLI::App* command : commands(app.root)) {
        for (const std::string& script : scripts)
            CHECK(contains(script, command->get_name()));
        CHECK(contains(fish, "-a " + command->get_name() + " "));
        for (const OptionView& option : visible_options(*command)) {
            for (const std::string& script : scripts)
                CHECK_MESSAGE(contains(script, option.long_name), option.long_name);
            if (!option.long_name.empty())
                CHECK_MESSAGE(
                    contains(fish,
                             "__fish_seen_subcommand_from " + command->get_name() + "'" +
                                 (option.short_name.empty() ? "" : " -s " + option.short_name.substr(1)) +
                                 " -l " + option.long_name.substr(2)),
                    option.long_name);
            for (const std::string& choice : option.choices()) {
                for (const std::string& script : scripts)
                    CHECK_MESSAGE(contains(script, choice), choice);
                CHECK(contains(fish, choice));
            }
        }
    }
}

TEST_CASE("bash accepts its completion script") {
    const App app;
    const auto [output, status] = bash(bash_completion(app), "-n");
    CHECK(output == "");
    CHECK(status == 0);
}

TEST_CASE("bash offers commands, options and choices where they fit") {
    CHECK(offers("hako ''", 1) ==
          "run serve ctl seed doctor bench state snapshot completion -h --help --version\n");
    CHECK(offers("hako r", 1) == "run\n");
    CHECK(offers("hako run --ke", 2) == "--kernel\n");
    CHECK(offers("hako run --serial ''", 3) == "tty pty file= socket= null off\n");
    CHECK(offers("hako run --rng ''", 3) == "off bandwidth=\n");
    CHECK(offers("hako run --cpus ''", 3) == "\n");
    CHECK(offers("hako run --kernel doctor --no", 4) == "--no-reboot\n");
    CHECK(offers("hako doctor ''", 2) == "--json -h --help\n");
    CHECK(offers("hako completion f", 2) == "fish\n");
}
