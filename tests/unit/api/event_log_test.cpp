#include "api/events/event_log.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "api/json/value.h"

using namespace hako;
using namespace hako::api;

namespace {

struct Log {
    std::chrono::steady_clock::time_point now{};
    EventLog log{[this] { return now; }};
};

}  // namespace

TEST_CASE("an event for a monitor has Cloud Hypervisor's form") {
    Log rig;
    rig.now += std::chrono::seconds(2) + std::chrono::nanoseconds(5);
    rig.log.add("vm", "booted");
    const auto event = rig.log.after(0);
    REQUIRE(event);
    CHECK(monitor_text(*event) == R"({
  "timestamp": {
    "secs": 2,
    "nanos": 5
  },
  "source": "vm",
  "event": "booted",
  "properties": null
}

)");
    CHECK(
        stream_text(*event) ==
        R"({"sequence":1,"timestamp":{"secs":2,"nanos":5},"source":"vm","event":"booted","properties":null})"
        "\n");
}

TEST_CASE("properties are JSON whatever they hold") {
    Log rig;
    rig.log.add("vm", "device-added", {{"id", "a\"\n\xff"}, {"bdf", "0000:00:06.0"}});
    const Event event = rig.log.after(0).value();
    CHECK(monitor_text(event).find("  \"properties\": {\n    \"bdf\": \"0000:00:06.0\",\n    \"id\": ") !=
          std::string::npos);
    CHECK(json::parse(monitor_text(event)));
    CHECK(json::parse(stream_text(event)));
    CHECK(stream_text(event).find('\n') == stream_text(event).size() - 1);
}

TEST_CASE("events are numbered, and the last ones are kept") {
    Log rig;
    CHECK_FALSE(rig.log.after(0));
    for (std::size_t i = 0; i < EventLog::kKept + 10; ++i)
        rig.log.add("vm", std::to_string(i));
    CHECK(rig.log.last() == EventLog::kKept + 10);
    CHECK(rig.log.after(0)->sequence == 11);
    CHECK(rig.log.after(11)->sequence == 12);
    CHECK(rig.log.after(11)->name == "11");
    CHECK(rig.log.after(rig.log.last() - 1)->sequence == rig.log.last());
    CHECK_FALSE(rig.log.after(rig.log.last()));
    CHECK_FALSE(rig.log.after(~std::uint64_t{0}));
}

TEST_CASE("a listener hears until it wants no more") {
    Log rig;
    std::vector<std::string> heard;
    const unsigned number = rig.log.subscribe([&](const Event& event) { heard.push_back(event.name); });
    rig.log.add("vm", "a");
    rig.log.unsubscribe(number);
    rig.log.add("vm", "b");
    CHECK(heard == std::vector<std::string>{"a"});
}
