#include "api/routes/device_routes.h"

#include <utility>

#include "api/routes/handler.h"
#include "api/schema/console.h"
#include "api/schema/device.h"
#include "api/schema/disk.h"
#include "api/schema/fs.h"
#include "api/schema/helper_disk.h"
#include "api/schema/knobs.h"
#include "api/schema/net.h"
#include "api/schema/resize.h"
#include "api/schema/vsock.h"

namespace hako::api {
namespace {

std::string info_text(const std::optional<PciDeviceInfo>& info) {
    return info ? json::encode(*info) : std::string();
}

Result<std::string> add_disk(Vmm& vmm, DiskConfig config, http::Request& /*request*/) {
    return info_text(HAKO_TRY_WRAP(vmm.add_disk(std::move(config)), "The disk could not be added to the VM"));
}

Result<std::string> add_net(Vmm& vmm, NetConfig config, http::Request& request) {
    return info_text(HAKO_TRY_WRAP(vmm.add_net(std::move(config), std::move(request.fds)),
                                   "The network device could not be added to the VM"));
}

Result<std::string> add_console(Vmm& vmm, VmAddConsole config, http::Request& /*request*/) {
    return info_text(
        HAKO_TRY_WRAP(vmm.add_console(std::move(config)), "The console could not be added to the VM"));
}

Result<std::string> add_vsock(Vmm& vmm, VsockConfig config, http::Request& /*request*/) {
    return info_text(
        HAKO_TRY_WRAP(vmm.add_vsock(std::move(config)), "The vsock could not be added to the VM"));
}

Result<std::string> add_fs(Vmm& vmm, FsConfig config, http::Request& /*request*/) {
    return info_text(
        HAKO_TRY_WRAP(vmm.add_fs(std::move(config)), "The shared directory could not be added to the VM"));
}

Result<std::string> remove_device(Vmm& vmm, const VmRemoveDevice& removal, http::Request& /*request*/) {
    HAKO_TRY_WRAP(vmm.remove_device(removal), "The device could not be removed from the VM");
    return std::string();
}

Result<std::string> resize_disk(Vmm& vmm, const VmResizeDisk& wanted, http::Request& /*request*/) {
    constexpr std::string_view kWhat = "The disk could not be resized";
    Machine* const machine = HAKO_TRY_WRAP(vmm.machine(), "{}", kWhat);
    HAKO_TRY_WRAP(machine->resize_disk(wanted.id, wanted.desired_size), "{}", kWhat);
    return std::string();
}

Result<std::string> resize(Vmm& vmm, const VmResize& wanted, http::Request& /*request*/) {
    Result<> resized = vmm.resize(wanted);
    if (resized) return std::string();
    // Clients look for these words.
    if (resized.error().fault() == Fault::kBusy)
        return std::unexpected(std::move(resized).error().wrap("Too Many Requests"));
    return std::unexpected(std::move(resized).error().wrap("The VM could not be resized"));
}

Result<std::string> resize_zone(Vmm& vmm, const VmResizeZone& wanted, http::Request& /*request*/) {
    HAKO_TRY(vmm.instance());
    return fail_missing("there is no memory zone {}: vm.resize changes all of memory", wanted.id);
}

Result<std::string> eject_helper(Vmm& vmm, const VmEjectHelper& wanted, http::Request& /*request*/) {
    HAKO_TRY_WRAP(vmm.eject_helper(wanted), "The helper disk could not be ejected");
    return std::string();
}

Result<std::string> update_helper(Vmm& vmm, const VmUpdateHelper& wanted, http::Request& /*request*/) {
    HAKO_TRY_WRAP(vmm.update_helper(wanted), "The helper disk could not be updated");
    return std::string();
}

Result<std::string> set_link(Vmm& vmm, const VmSetLink& link, http::Request& /*request*/) {
    Machine* const machine = HAKO_TRY(vmm.machine());
    HAKO_TRY(machine->set_link(link.id, link.up));
    return std::string();
}

Result<std::string> set_limits(Vmm& vmm, const VmSetLimits& wanted, http::Request& /*request*/) {
    HAKO_TRY(vmm.set_limits(wanted));
    return std::string();
}

template <typename T, typename Function>
void put(Router& router, Vmm& vmm, std::string_view name, Function function) {
    router.put(name, Router::Body::kRequired,
               handler<T>(vmm.control(), [&vmm, function](T body, http::Request& request) {
                   return function(vmm, std::move(body), request);
               }));
}

}  // namespace

void add_device_routes(Router& router, Vmm& vmm) {
    put<DiskConfig>(router, vmm, "vm.add-disk", add_disk);
    put<NetConfig>(router, vmm, "vm.add-net", add_net);
    put<VmAddConsole>(router, vmm, "vm.add-console", add_console);
    put<VsockConfig>(router, vmm, "vm.add-vsock", add_vsock);
    put<FsConfig>(router, vmm, "vm.add-fs", add_fs);
    put<VmRemoveDevice>(router, vmm, "vm.remove-device", remove_device);
    put<VmResizeDisk>(router, vmm, "vm.resize-disk", resize_disk);
    put<VmResize>(router, vmm, "vm.resize", resize);
    put<VmResizeZone>(router, vmm, "vm.resize-zone", resize_zone);
    put<VmEjectHelper>(router, vmm, "vm.eject-helper", eject_helper);
    put<VmUpdateHelper>(router, vmm, "vm.update-helper", update_helper);
    put<VmSetLink>(router, vmm, "vm.set-link", set_link);
    put<VmSetLimits>(router, vmm, "vm.set-limits", set_limits);
    router.put("vm.announce", Router::Body::kNone,
               handler(vmm.control(), [&vmm](http::Request&) -> Result<std::string> {
                   Machine* const machine = HAKO_TRY(vmm.machine());
                   machine->announce();
                   return std::string();
               }));
}

}  // namespace hako::api
