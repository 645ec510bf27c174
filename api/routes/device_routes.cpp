#include "api/routes/device_routes.h"

#include <utility>

#include "api/json/codec.h"
#include "api/routes/handler.h"
#include "api/schema/console.h"
#include "api/schema/device.h"
#include "api/schema/disk.h"
#include "api/schema/knobs.h"
#include "api/schema/net.h"
#include "api/schema/refusal.h"

namespace hako::api {
namespace {

/// The id that the client gave, checked, or the first free one of its kind.
Result<std::string> choose_id(const std::optional<std::string>& given, std::string_view prefix,
                              const Machine& machine) {
    if (!given) return free_id(prefix, [&](std::string_view id) { return machine.devices().has(id); });
    HAKO_TRY(check_id({}, *given));
    return *given;
}

std::string device_info(std::string id, const pci::Bdf& address) {
    return json::encode(PciDeviceInfo{.id = std::move(id), .bdf = address.text()});
}

Result<std::string> add_disk(Instance& instance, http::Request& request) {
    auto config = HAKO_TRY(json::decode<DiskConfig>(request.body));
    Machine* const machine = HAKO_TRY(instance.machine());
    config.id = HAKO_TRY(choose_id(config.id, "_disk", *machine));
    const virtio::blk::Config disk = HAKO_TRY(to_machine(config));
    const pci::Bdf address = HAKO_TRY(machine->add_disk(disk));
    return device_info(*config.id, address);
}

Result<std::string> add_net(Instance& instance, http::Request& request) {
    auto config = HAKO_TRY(json::decode<NetConfig>(request.body));
    Machine* const machine = HAKO_TRY(instance.machine());
    config.id = HAKO_TRY(choose_id(config.id, "_net", *machine));
    const virtio::net::Config net = HAKO_TRY(to_machine(config, request.fds));
    const pci::Bdf address = HAKO_TRY(machine->add_net(net));
    return device_info(*config.id, address);
}

Result<std::string> add_console(Instance& instance, http::Request& request) {
    auto config = HAKO_TRY(json::decode<VmAddConsole>(request.body));
    Machine* const machine = HAKO_TRY(instance.machine());
    config.id = HAKO_TRY(choose_id(config.id, "_console", *machine));
    const virtio::console::Config console = HAKO_TRY(to_machine(config));
    const pci::Bdf address = HAKO_TRY(machine->add_console(console));
    return device_info(*config.id, address);
}

Result<std::string> remove_device(Instance& instance, http::Request& request) {
    const auto removal = HAKO_TRY(json::decode<VmRemoveDevice>(request.body));
    Machine* const machine = HAKO_TRY(instance.machine());
    HAKO_TRY(removal.force ? machine->remove_now(removal.id) : machine->request_removal(removal.id));
    return std::string();
}

Result<std::string> set_link(Instance& instance, http::Request& request) {
    const auto link = HAKO_TRY(json::decode<VmSetLink>(request.body));
    Machine* const machine = HAKO_TRY(instance.machine());
    HAKO_TRY(machine->set_link(link.id, link.up));
    return std::string();
}

Result<std::string> set_limits(Instance& instance, http::Request& request) {
    const auto wanted = HAKO_TRY(json::decode<VmSetLimits>(request.body));
    const io::RateLimits limits = to_machine(wanted.rate_limiter_config);
    Machine* const machine = HAKO_TRY(instance.machine());
    HAKO_TRY(machine->set_limits(wanted.id, limits));
    return std::string();
}

Result<std::string> announce(Instance& instance, http::Request& /*request*/) {
    Machine* const machine = HAKO_TRY(instance.machine());
    machine->announce();
    return std::string();
}

}  // namespace

void add_device_routes(Router& router, Instance& instance) {
    const auto put = [&](std::string_view name, Router::Body body, auto function) {
        router.put(name, body, handler([&instance, function](http::Request& request) {
                       return function(instance, request);
                   }));
    };
    put("vm.add-disk", Router::Body::kRequired, add_disk);
    put("vm.add-net", Router::Body::kRequired, add_net);
    put("vm.add-console", Router::Body::kRequired, add_console);
    put("vm.remove-device", Router::Body::kRequired, remove_device);
    put("vm.set-link", Router::Body::kRequired, set_link);
    put("vm.set-limits", Router::Body::kRequired, set_limits);
    put("vm.announce", Router::Body::kNone, announce);
}

}  // namespace hako::api
