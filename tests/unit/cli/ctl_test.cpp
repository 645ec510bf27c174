#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/unit/cli/command_line.h"
#include "tools/hako/ctl_output.h"
#include "tools/hako/ctl_progress.h"
#include "tools/hako/ctl_request.h"

using namespace hako;
using namespace hako::cli;
using hako::cli::test::parse_words;

namespace {

Result<CtlRequest> request(const char* verb, std::vector<std::string> words = {}) {
    REQUIRE(find_ctl_verb(verb) != nullptr);
    return build_ctl_request(*find_ctl_verb(verb), words);
}

std::string body(const char* verb, std::vector<std::string> words) {
    const auto built = request(verb, std::move(words));
    REQUIRE_MESSAGE(built, built.error().text());
    return built->body;
}

std::string refusal(const char* verb, std::vector<std::string> words) {
    const auto built = request(verb, std::move(words));
    return built ? "" : built.error().text();
}

}  // namespace

TEST_CASE("each verb is an endpoint of its own") {
    std::vector<std::string> seen;
    for (const CtlVerb& verb : ctl_verbs()) {
        seen.push_back(std::string(verb.get ? "GET " : "PUT ").append(verb.path));
        // `migrate` is send-migration, followed to its end.
        if (verb.name != "send-migration") CHECK(std::count(seen.begin(), seen.end(), seen.back()) == 1);
        CHECK(find_ctl_verb(verb.name) == &verb);
    }
    CHECK(find_ctl_verb("dance") == nullptr);
    CHECK(*request("boot") == CtlRequest{.method = "PUT", .target = "/api/v1/vm.boot"});
    CHECK(*request("info") == CtlRequest{.method = "GET", .target = "/api/v1/vm.info"});
    CHECK(request("events", {"since=3", "follow=false"})->target == "/api/v1/events?since=3&follow=false");
}

TEST_CASE("words become fields") {
    CHECK(body("add-disk", {"/a=b"}) == R"({"path":"/a=b"})");
    CHECK(body("add-disk", {"x.img", "readonly=true", "num_queues=2", "id=d1"}) ==
          R"({"path":"x.img","readonly":true,"num_queues":2,"id":"d1"})");
    CHECK(body("resize-disk", {"d", "2G"}) == R"({"id":"d","desired_size":2147483648})");
    CHECK(body("set-link", {"n", "off"}) == R"({"id":"n","up":false})");
    CHECK(body("coredump", {"/a/core"}) == R"({"destination_url":"file:///a/core"})");
    CHECK(body("coredump", {"file:///a"}) == R"({"destination_url":"file:///a"})");
    CHECK(body("set-limits",
               {"d", "rate_limiter_config.ops.size=1", "rate_limiter_config.ops.refill_time=2"}) ==
          R"({"id":"d","rate_limiter_config":{"ops":{"size":1,"refill_time":2}}})");
    CHECK(body("add-net", {"mac=02:00:00:00:00:01"}) == R"({"mac":"02:00:00:00:00:01"})");
    CHECK(body("migrate", {"unix:/x", "migrate_disks+=root", "migrate_disks+=data"}) ==
          R"({"destination_url":"unix:/x","migrate_disks":["root","data"]})");
    CHECK(body("receive-migration", {"unix:/x", R"(disks+={"id":"root","path":"/a"})"}) ==
          R"({"receiver_url":"unix:/x","disks":[{"id":"root","path":"/a"}]})");
    CHECK(body("resize", {}) == "{}");
    const auto with_fds = request("add-net", {"fd=7", "fd=8", "num_queues=4"});
    CHECK(with_fds->fds == std::vector<int>{7, 8});
    CHECK(with_fds->body == R"({"num_queues":4})");
}

TEST_CASE("words that make no sense are refused") {
    CHECK(refusal("boot", {"now"}).starts_with("now: hako ctl boot takes no argument"));
    CHECK(refusal("set-link", {"n", "up"}) == "up: must be on or off");
    CHECK(refusal("resize-disk", {"d", "large"}).starts_with("large: a size"));
    CHECK(refusal("add-disk", {"a", "b"}).find("add-disk PATH [KEY=VALUE...]") != std::string::npos);
    CHECK(refusal("add-net", {"fd=x"}).starts_with("fd=x"));
    CHECK(refusal("add-net", {".=1"}).find("key is wanted") != std::string::npos);
    CHECK(refusal("create", {}).find("one file") != std::string::npos);
    CHECK(refusal("create", {"/nowhere/vm.json"}).starts_with("/nowhere/vm.json: No such file"));
    CHECK(refusal("add-disk", {"@/nowhere"}).starts_with("/nowhere: No such file"));
    CHECK(refusal("events", {"since=1&x=2"}).find("KEY=VALUE") != std::string::npos);
}

TEST_CASE("a line of ctl is parsed") {
    const auto command =
        parse_words({"ctl", "--api-socket", "/s", "remove-device", "d", "force=true", "--json"});
    REQUIRE_MESSAGE(command, command.error().text());
    const auto& ctl = std::get<CtlCommand>(*command);
    CHECK(ctl.api_socket == "/s");
    CHECK(ctl.json);
    CHECK(ctl.verb->name == "remove-device");
    CHECK(ctl.words == std::vector<std::string>{"d", "force=true"});
    const auto error = [](std::vector<const char*> words) { return parse_words(words).error().text(); };
    CHECK(error({"ctl"}).starts_with("ctl: what shall be done?"));
    CHECK(error({"ctl", "boot"}).find("--api-socket is missing") != std::string::npos);
    CHECK(error({"ctl", "bot", "--api-socket", "s"}).find("did you mean boot?") != std::string::npos);
    CHECK(error({"ctl", "boot", "--api-socket", "s", "--fast"}).find("no such option") != std::string::npos);
}

TEST_CASE("answers for people") {
    CHECK(ctl_text("boot", "") == "");
    CHECK(ctl_text("ping", R"({"version":"1","pid":7})") == "hako 1, process 7\n");
    CHECK(ctl_text("add-disk", R"({"id":"d","bdf":"0000:00:01.0"})") == "d at 0000:00:01.0\n");
    CHECK(ctl_text("counters", R"({"d":{"reads":1,"written_bytes":22}})") ==
          "d  reads          1\nd  written_bytes  22\n");
    CHECK(ctl_text("counters", "{}") == "no device counts anything\n");
    const std::string info = ctl_text("info", R"({"config":{"cpus":{"boot_vcpus":2},"payload":{"kernel":"/k"},
        "disks":[{"id":"d","path":"/a\u001b[2J","readonly":true}],"net":[{"id":"n","mac":"m"}],
        "serial":{"mode":"Pty","file":"/dev/pts/1"}},"state":"Running","memory_actual_size":1073741824})");
    CHECK(info.starts_with(
        "state      Running\ncpus       2\nmemory     1 GiB\nkernel     /k\ninitramfs  -\n"));
    CHECK(info.find("serial     Pty /dev/pts/1\n") != std::string::npos);
    CHECK(info.find("disks      d  /a\\x1b[2J  read-only\n") != std::string::npos);
    CHECK(info.find("net        n  m\n") != std::string::npos);
    CHECK(ctl_text("info", "nonsense") == "nonsense");
    CHECK(ctl_event_text(
              R"({"sequence":3,"timestamp":{"secs":1,"nanos":20000000},"source":"vm","event":"booted",)"
              R"("properties":{"id":"d"}})") == "     3       1.020  vm booted  id=d\n");
    CHECK(ctl_event_text("x") == "");
}

TEST_CASE("a migration under way is a line") {
    const auto bar = [](const char* step, const char* more) {
        return migration_bar(fmt::format(
            R"({{"status":"ongoing","step":"{}","downtime_estimated_ms":12,"error":["the wire","it broke"],
                "memory_transmission_info":{{"memory_bytes_total":1048576,"memory_bytes_remaining_iteration":262144,
                "memory_iteration":2,"memory_transmission_bps":104857600,"memory_dirty_rate_pps":256}}{}}})",
            step, more));
    };
    CHECK(bar("rounds", "") ==
          "[######################--------]  75 %  round 2  100 MiB/s  dirty 1 MiB/s  downtime 12 ms "
          "(predicted)");
    CHECK(bar("rounds", R"(,"disk_transmission_info":{"disk_bytes_total":1048576})").find("88 %") !=
          std::string::npos);
    CHECK(bar("serving", "") ==
          "[######################--------]  75 %  100 MiB/s  the guest runs there, the rest of its memory "
          "follows");
    CHECK(bar("paused-recoverable", "") == "the guest stands still, trying again: the wire: it broke");
}
