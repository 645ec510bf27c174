#include "api/routes/vm_routes.h"

#include <utility>

#include "api/metrics/counters.h"
#include "api/routes/handler.h"
#include "api/schema/coredump.h"
#include "api/schema/file_url.h"

namespace hako::api {
namespace {

Result<std::string> create(Vmm& vmm, VmConfig config, http::Request& request) {
    HAKO_TRY_WRAP(vmm.create(std::move(config), std::move(request.fds)), "The VM could not be created");
    return std::string();
}

Result<std::string> dump_core(Vmm& vmm, const VmCoredumpData& wanted, http::Request& /*request*/) {
    const std::string path = HAKO_TRY(path_of_url("destination_url", wanted.destination_url));
    HAKO_TRY_WRAP(vmm.dump_core(path), "The VM could not be dumped");
    return std::string();
}

/// What was good when the VM was created fails for the host's reasons; so Cloud Hypervisor sees it, too.
Result<> boot(Vmm& vmm) {
    Result<> booted = vmm.boot();
    if (booted || booted.error().fault() == Fault::kMissing) return booted;
    return std::unexpected(std::move(booted).error().as(Fault::kHost));
}

template <typename T, typename Function>
void put(Router& router, Vmm& vmm, std::string_view name, Function function) {
    router.put(name, Router::Body::kRequired,
               handler<T>(vmm.control(), [&vmm, function](T body, http::Request& request) {
                   return function(vmm, std::move(body), request);
               }));
}

/// `failed`: how an error's chain begins.
template <typename Function>
void put(Router& router, Vmm& vmm, std::string_view name, std::string_view failed, Function function) {
    router.put(name, Router::Body::kNone,
               handler(vmm.control(), [&vmm, failed, function](http::Request&) -> Result<std::string> {
                   HAKO_TRY_WRAP(function(vmm), "{}", failed);
                   return std::string();
               }));
}

}  // namespace

void add_vm_routes(Router& router, Vmm& vmm) {
    router.get("vm.info", handler([&vmm](http::Request&) -> Result<std::string> {
                   return json::encode(*HAKO_TRY_WRAP(vmm.info(), "The VM info is not available"));
               }));
    router.get("vm.counters", handler([&vmm](http::Request&) -> Result<std::string> {
                   Counters now;
                   HAKO_TRY_WRAP(
                       vmm.look_at_machine([&](const Machine& machine) { now = counters(machine); }),
                       "The VM counters are not available");
                   return json::encode(now);
               }));
    put<VmConfig>(router, vmm, "vm.create", create);
    put<VmCoredumpData>(router, vmm, "vm.coredump", dump_core);
    put(router, vmm, "vm.boot", "The VM could not boot", boot);
    put(router, vmm, "vm.delete", "The VM could not be deleted", [](Vmm& vm) { return vm.remove(); });
    put(router, vmm, "vm.pause", "The VM could not be paused", [](Vmm& vm) { return vm.pause(); });
    put(router, vmm, "vm.resume", "The VM could not resume", [](Vmm& vm) { return vm.resume(); });
    put(router, vmm, "vm.shutdown", "The VM could not shutdown", [](Vmm& vm) { return vm.shut_down(); });
    put(router, vmm, "vm.reboot", "The VM could not reboot", [](Vmm& vm) { return vm.reboot(); });
    put(router, vmm, "vm.power-button", "The power button could not be pressed",
        [](Vmm& vm) { return vm.press_power_button(); });
    put(router, vmm, "vm.nmi", "The NMI could not be injected", [](Vmm& vm) { return vm.inject_nmi(); });
}

}  // namespace hako::api
