#include "tools/hako/bench_child.h"

#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <string>

#include "tools/hako/bench_guest.h"

using namespace hako;
using namespace hako::bench;

namespace {

Child::Deadline soon() {
    return Child::Deadline::clock::now() + std::chrono::seconds(60);
}

}  // namespace

TEST_CASE("a program's output is what it wrote, or its last words") {
    const auto output = run_program({"sh", "-c", "echo one; echo two"}, soon());
    REQUIRE(output);
    CHECK(*output == "one\ntwo\n");
    const auto failed = run_program({"sh", "-c", "echo first >&2; echo last >&2; exit 3"}, soon());
    REQUIRE_FALSE(failed);
    CHECK(failed.error().text() == "sh ended with code 3: last");
    const auto missing = run_program({"/no/such/program"}, soon());
    REQUIRE_FALSE(missing);
    CHECK(missing.error().text().find("there is no such program") != std::string::npos);
}

TEST_CASE("a child goes with its object, and at its deadline") {
    ::pid_t pid = 0;
    {
        auto child = Child::start({"cat"});
        REQUIRE(child);
        pid = child->pid();
        CHECK(::kill(pid, 0) == 0);
        REQUIRE(child->write("hello\n"));
        std::string output;
        REQUIRE(child->read(output, soon()));
        CHECK(output == "hello\n");
        CHECK(*child->read(output, Child::Deadline{}) == false);
        CHECK_FALSE(child->ended());
    }
    CHECK(::kill(pid, 0) != 0);
    auto child = Child::start({"cat"});
    REQUIRE(child);
    CHECK(child->wait(Child::Deadline{}) == 128 + SIGKILL);
}

TEST_CASE("a shell does what it is told, and a failure tells which command") {
    auto guest = Guest::start("box", {"sh"});
    REQUIRE(guest);
    const auto answer = guest->run("echo one; echo two", std::chrono::seconds(60));
    REQUIRE(answer);
    CHECK(*answer == "one\ntwo\n");
    std::string lines;
    REQUIRE(guest->run("echo mark; echo rest", std::chrono::seconds(60), [&](std::string_view line) {
        if (line == "mark" || line == "rest") lines += line;
    }));
    CHECK(lines == "markrest");
    const auto failed = guest->run("echo why; (exit 4)", std::chrono::seconds(60));
    REQUIRE_FALSE(failed);
    CHECK(failed.error().text().find("`echo why; (exit 4)` ended with code 4: why") != std::string::npos);
    const auto gone = guest->run("echo sorry >&2; exit 5", std::chrono::seconds(60));
    REQUIRE_FALSE(gone);
    CHECK(gone.error().text() == "box: its VM ended: sorry");
}
