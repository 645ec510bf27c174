#include <doctest/doctest.h>

#include <sstream>
#include <string>
#include <vector>

#include "tests/unit/cli/command_line.h"
#include "tools/hako/cli_app.h"
#include "tools/hako/exit_code.h"

using namespace hako;
using namespace hako::cli;
using hako::cli::test::parse_words;

namespace {

std::string printed(std::vector<const char*> words) {
    const auto command = parse_words(std::move(words));
    REQUIRE(command);
    REQUIRE(std::holds_alternative<PrintCommand>(*command));
    return std::get<PrintCommand>(*command).text;
}

bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("the help of run shows every option, two examples and every exit code") {
    const App app;
    const std::string text = printed({"run", "--help"});
    const auto options = visible_options(*app.run);
    CHECK(options.size() >= 13);
    for (const OptionView& option : options)
        CHECK_MESSAGE(contains(text, option.long_name), option.long_name);
    std::size_t examples = 0;
    for (std::size_t at = text.find("\n    hako run"); at != std::string::npos;
         at = text.find("\n    hako run", at + 1))
        ++examples;
    CHECK(examples == 2);
    for (const ExitCodeText& code : kExitCodes)
        CHECK_MESSAGE(contains(text, code.meaning), code.meaning);
}

TEST_CASE("the general help names every command") {
    const App app;
    const std::string text = printed({"--help"});
    for (const CLI::App* command : commands(app.root))
        CHECK(contains(text, command->get_name()));
    CHECK(printed({"-h"}) == text);
}

TEST_CASE("help fits a terminal of 100 columns") {
    for (const char* command : {"run", "serve", "ctl", "doctor", "bench", "completion"}) {
        std::istringstream lines(printed({command, "--help"}));
        for (std::string line; std::getline(lines, line);)
            CHECK_MESSAGE(line.size() <= 100, line);
    }
}

TEST_CASE("help is shown even beside a mistake") {
    CHECK(contains(printed({"run", "--help", "--nope"}), "Usage:"));
}

TEST_CASE("the examples of the help are accepted") {
    CHECK(parse_words({"run", "--kernel", "vmlinuz", "--initrd", "initrd.img", "--cmdline",
                       "root=/dev/vda console=ttyS0", "--disk", "path=debian.img,serial=root", "--disk",
                       "path=data.img,readonly", "--cloud-init", "user-data.yaml"}));
}

TEST_CASE("the version is printed by the program and by each command") {
    CHECK(printed({"--version"}) == "hako " HAKO_VERSION "\n");
    CHECK(printed({"run", "--version"}) == printed({"--version"}));
}
