// Fuzzes what an API client sends: the HTTP stream, the JSON in its bodies, and what it says of VMs.
//
// Input: the size of the pieces in which the stream comes, then the stream. If it is no request, it is taken
// as a body. Checks what must hold whatever it is.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "api/http/request_parser.h"
#include "api/json/codec.h"
#include "api/schema/console.h"
#include "api/schema/coredump.h"
#include "api/schema/device.h"
#include "api/schema/disk.h"
#include "api/schema/helper_disk.h"
#include "api/schema/knobs.h"
#include "api/schema/migration.h"
#include "api/schema/net.h"
#include "api/schema/resize.h"
#include "api/schema/snapshot.h"
#include "api/schema/vm.h"
#include "tests/fuzz/require.h"

using namespace hako;
using hako::fuzz::require;
using namespace hako::api;

namespace {

constexpr http::RequestLimits kLimits{.head = 1024, .body = 2048, .fds = 8};

bool is_ascii(std::string_view text) {
    return std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '\x7f'; });
}

void refuse(const Error& error) {
    const http::Response response = http::failure(error);
    require(is_ascii(response.body), "a refusal that is not ASCII");
    require(response.body.size() < 16 * 1024, "a refusal without bounds");
    require(json::parse(response.body).has_value(), "a refusal that is not JSON");
}

/// What is read can be written, and says the same.
template <typename T>
std::optional<T> round_trip(std::string_view body) {
    auto value = json::decode<T>(body);
    if (!value) {
        refuse(value.error());
        return std::nullopt;
    }
    const std::string text = json::encode(*value);
    require(is_ascii(text), "JSON that is not ASCII");
    const auto again = json::decode<T>(std::string_view(text));
    require(again.has_value() && *again == *value, "a value that changes when it is written");
    return std::move(*value);
}

/// As vm.info tells them: an interface without an address has the one that hako makes.
std::vector<virtio::net::Config> with_addresses(std::vector<virtio::net::Config> nets) {
    for (virtio::net::Config& net : nets)
        net.mac = net.mac.value_or(virtio::net::default_mac(net.id, net.tap));
    return nets;
}

void check_vm(VmConfig config) {
    name_devices(config);
    const auto machine = to_machine(config);
    if (!machine) return refuse(machine.error());
    require(machine->cpus.count >= 1 && machine->cpus.count <= kMaxVcpus, "CPUs out of range");
    require(machine->memory.size % (1 << 20) == 0, "ragged memory");
    for (const auto& disk : machine->disks)
        require(!disk.id.empty() && !disk.path.empty(), "an empty disk");
    VmConfig shown = from_machine(*machine, config);
    const auto again = to_machine(shown);
    require(
        again.has_value() && again->disks == machine->disks && again->nets == with_addresses(machine->nets),
        "devices that change when they are shown");
    const VmConfig bare = from_machine(*machine);
    require(to_machine(bare).has_value(), "a machine that cannot be shown");
}

void check_body(std::string_view body) {
    round_trip<VmRemoveDevice>(body);
    round_trip<VmResize>(body);
    round_trip<VmResizeDisk>(body);
    round_trip<VmResizeZone>(body);
    round_trip<VmCoredumpData>(body);
    round_trip<VmSnapshotConfig>(body);
    round_trip<RestoreConfig>(body);
    round_trip<SendMigrationData>(body);
    round_trip<ReceiveMigrationData>(body);
    round_trip<MigrationBandwidth>(body);
    round_trip<VmSetLink>(body);
    round_trip<VmSetLimits>(body);
    round_trip<VmEjectHelper>(body);
    round_trip<VmUpdateHelper>(body);
    if (auto config = round_trip<DiskConfig>(body)) {
        if (const auto disk = to_machine(*config); !disk) refuse(disk.error());
    }
    if (auto config = round_trip<NetConfig>(body)) {
        if (const auto net = to_machine(*config); !net) refuse(net.error());
    }
    if (auto config = round_trip<VmAddConsole>(body)) {
        if (const auto console = to_machine(*config); !console) refuse(console.error());
    }
    if (auto config = round_trip<VmConfig>(body)) check_vm(*std::move(config));
}

/// How many requests there were.
std::size_t check_stream(std::span<const std::uint8_t> stream, std::size_t piece) {
    http::RequestParser parser(kLimits);
    std::size_t count = 0;
    while (!stream.empty()) {
        const auto room = parser.prepare();
        const std::size_t bytes = std::min({piece, stream.size(), room.size()});
        require(bytes > 0, "no room to read into");
        std::memcpy(room.data(), stream.data(), bytes);
        parser.commit(bytes, {});
        stream = stream.subspan(bytes);
        for (auto step = parser.advance(); step != http::RequestParser::Step::kNeedMore;
             step = parser.advance()) {
            if (step == http::RequestParser::Step::kFailed) {
                require(!parser.failure_text().empty(), "a refusal without words");
                return count;
            }
            if (step == http::RequestParser::Step::kContinue) continue;
            const http::Request request = parser.take();
            ++count;
            require(request.body.size() <= kLimits.body, "a body that is too large");
            require(request.path.size() + request.query.size() <= kLimits.head, "a path that is too long");
            check_body(request.body);
        }
    }
    return count;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1) return 0;
    const std::span stream(data + 1, size - 1);
    const std::size_t piece = data[0] == 0 ? stream.size() : data[0];
    // The pieces do not matter.
    const std::size_t requests = check_stream(stream, piece);
    require(requests == check_stream(stream, stream.size()), "requests that depend on how they come");
    if (requests == 0) check_body({reinterpret_cast<const char*>(stream.data()), stream.size()});
    return 0;
}
