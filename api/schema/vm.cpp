#include "api/schema/vm.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "api/json/value.h"
#include "api/schema/refusal.h"
#include "virtio/mem/config.h"
#include "virtio/net/mac.h"
#include "vmm/base/units.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/memory/layout.h"

namespace hako::api {
namespace {

constexpr json::Place kBody;

json::Place at(std::string_view name) {
    return {.outer = &kBody, .name = name};
}

Result<> check_supported(const VmConfig& config) {
    const std::array<std::pair<std::string_view, bool>, 11> wanted = {{
        {"iommu", config.iommu},
        {"landlock_enable", config.landlock_enable},
        {"tpm", config.tpm.has_value()},
        {"generic_vhost_user", config.generic_vhost_user && !config.generic_vhost_user->empty()},
        {"pmem", config.pmem && !config.pmem->empty()},
        {"devices", config.devices && !config.devices->empty()},
        {"user_devices", config.user_devices && !config.user_devices->empty()},
        {"vdpa", config.vdpa && !config.vdpa->empty()},
        {"numa", config.numa && !config.numa->empty()},
        {"pci_segments", config.pci_segments && !config.pci_segments->empty()},
        {"rate_limit_groups", config.rate_limit_groups && !config.rate_limit_groups->empty()},
    }};
    for (const auto& [name, is_wanted] : wanted)
        if (is_wanted) return not_supported(kBody, name);
    return {};
}

Result<> check_platform(const PlatformConfig& config) {
    const json::Place place = at("platform");
    const std::array<std::pair<std::string_view, bool>, 8> wanted = {{
        {"serial_number", config.serial_number.has_value()},
        {"system_serial_number", config.system_serial_number.has_value()},
        {"uuid", config.uuid.has_value()},
        {"system_uuid", config.system_uuid.has_value()},
        {"oem_strings", config.oem_strings && !config.oem_strings->empty()},
        {"tdx", config.tdx},
        {"sev_snp", config.sev_snp},
        {"iommufd", config.iommufd},
    }};
    for (const auto& [name, is_wanted] : wanted)
        if (is_wanted) return not_supported(place, name);
    return {};
}

Result<hako::PayloadConfig> to_machine(const PayloadConfig& config) {
    const json::Place place = at("payload");
    if (config.firmware) return not_supported(place, "firmware", "give a kernel");
    if (config.igvm) return not_supported(place, "igvm", "give a kernel");
    if (!config.kernel || config.kernel->empty())
        return refuse(place, "kernel", "the path of a bzImage or an ELF image", config.kernel.value_or(""));
    hako::PayloadConfig payload;
    payload.kernel = *config.kernel;
    payload.initrd = config.initramfs.value_or("");
    payload.command_line = config.cmdline.value_or("");
    return payload;
}

Result<CpuConfig> to_machine(const CpusConfig& config) {
    const json::Place place = at("cpus");
    if (config.kvm_hyperv) return not_supported(place, "kvm_hyperv");
    if (config.boot_vcpus > kMaxVcpus)
        return refuse(place, "boot_vcpus", fmt::format("a number from 1 to {}", kMaxVcpus),
                      std::to_string(config.boot_vcpus));
    if (config.max_vcpus < config.boot_vcpus)
        return refuse(place, "max_vcpus", fmt::format("at least boot_vcpus, {},", config.boot_vcpus),
                      std::to_string(config.max_vcpus));
    return CpuConfig{.count = config.boot_vcpus, .max = std::min(config.max_vcpus, kMaxVcpus)};
}

/// What a client gets that says nothing (kTty) is no virtio console: the terminal is the serial port's.
Result<> add_console(const ConsoleConfig& config, MachineConfig& machine) {
    const json::Place place = at("console");
    if (config.iommu) return not_supported(place, "iommu");
    if (config.mode == ConsoleMode::kOff || config.mode == ConsoleMode::kTty) return {};
    virtio::console::Config console;
    console.id = kFirstConsole;
    console.console = HAKO_TRY(to_machine(config, place));
    console.pci_segment = config.pci_segment.value_or(0);
    machine.consoles.push_back(std::move(console));
    return {};
}

/// Whether VmConfig::console says all of it.
bool is_plain(const virtio::console::Config& console) {
    using enum console::Mode;
    return console.id == kFirstConsole && console.ports.empty() && console.console.mode != kOff &&
           console.console.mode != kTty;
}

/// cloud-init's disk first: guests find it sooner.
Result<> add_helpers(const VmConfig& config, MachineConfig& machine) {
    if (config.cloud_init)
        machine.helpers.push_back(HAKO_TRY(build_seed(*config.cloud_init, at("cloud_init"))));
    const json::Place disks = at("helper_disks");
    if (config.helper_disks.size() > kMaxDevices)
        return fail_input("helper_disks: {} are more than fit, at most {}", config.helper_disks.size(),
                          kMaxDevices);
    for (std::size_t index = 0; index < config.helper_disks.size(); ++index)
        machine.helpers.push_back(
            HAKO_TRY(to_machine(config.helper_disks[index], {.outer = &disks, .name = {}, .index = index})));
    return {};
}

Result<> check_rng(const RngConfig& config) {
    const json::Place place = at("rng");
    if (config.iommu) return not_supported(place, "iommu");
    if (config.src != "/dev/urandom" && config.src != "/dev/random")
        return refuse(place, "src", "/dev/urandom or /dev/random", config.src);
    return {};
}

template <typename Device>
void name(std::vector<Device>& devices, std::string_view prefix) {
    for (Device& device : devices) {
        if (device.id) continue;
        device.id = free_id(prefix, [&](std::string_view id) {
            return std::ranges::any_of(devices, [id](const Device& other) { return other.id == id; });
        });
    }
}

/// A strict client (Kata's runtime-rs) wants an address, also of an interface that got it from hako; and a
/// clone may have got another than was sent.
void complete(NetConfig& net, const virtio::net::Config& config) {
    const NetConfig now = from_machine(config);
    if (!net.mac || virtio::net::parse_mac(*net.mac) != virtio::net::parse_mac(*now.mac)) net.mac = now.mac;
}
void complete(DiskConfig&, const virtio::blk::Config&) {}
void complete(FsConfig&, const virtio::fs::Config&) {}

/// As they were sent, if they were, else as hako knows them; in hako's order.
template <typename Device, typename Machine>
std::vector<Device> merge(const std::vector<Machine>& now, const std::vector<Device>& sent) {
    std::vector<Device> devices;
    for (const Machine& config : now) {
        const auto known =
            std::ranges::find_if(sent, [&](const Device& device) { return device.id == config.id; });
        devices.push_back(known == sent.end() ? from_machine(config) : *known);
        complete(devices.back(), config);
    }
    return devices;
}

Result<> check_fs(const std::vector<virtio::fs::Config>& all) {
    for (std::size_t index = 0; index < all.size(); ++index)
        for (std::size_t before = 0; before < index; ++before) {
            if (all[index].socket == all[before].socket)
                return fail_input("fs[{}].socket: {} is taken by fs[{}]: each needs a daemon of its own",
                                  index, all[index].socket, before);
            if (all[index].tag == all[before].tag)
                return fail_input("fs[{}].tag: {} is taken by fs[{}]: tags must differ", index,
                                  all[index].tag, before);
        }
    return {};
}

Result<> check_segments(const MachineConfig& machine) {
    Result<> good;
    const auto check = [&](const auto& device) {
        if (!good || device.pci_segment < machine.pci_segments) return;
        good = fail_input("pci_segment: {} of device {} is not below {}, the VM's platform.num_pci_segments",
                          device.pci_segment, device.id, machine.pci_segments);
    };
    std::ranges::for_each(machine.disks, check);
    std::ranges::for_each(machine.nets, check);
    std::ranges::for_each(machine.consoles, check);
    std::ranges::for_each(machine.vsocks, check);
    std::ranges::for_each(machine.fs, check);
    if (machine.rng) check(*machine.rng);
    if (machine.balloon) check(*machine.balloon);
    return good;
}

Result<> check_addresses(const MachineConfig& machine) {
    for (std::size_t index = 0; index < machine.nets.size(); ++index)
        for (std::size_t before = 0; before < index; ++before)
            if (machine.nets[index].mac && machine.nets[index].mac == machine.nets[before].mac)
                return fail_input("net[{}].mac: {} is taken by net[{}]: addresses must differ", index,
                                  virtio::net::mac_text(*machine.nets[index].mac), before);
    return {};
}

}  // namespace

Result<hako::MemoryConfig> to_machine(const MemoryConfig& config) {
    const json::Place place = at("memory");
    if (config.zones && !config.zones->empty()) return not_supported(place, "zones", "give a size");
    if (config.mergeable) return not_supported(place, "mergeable");
    if (config.size < kMinMemory || config.size > kMaxMemory || !is_aligned(config.size, MiB))
        return refuse(place, "size",
                      fmt::format("a multiple of 1 MiB from {} to {}", format_size(kMinMemory),
                                  format_size(kMaxMemory)),
                      std::to_string(config.size));
    hako::MemoryConfig memory;
    memory.size = config.boot_size.value_or(config.size);
    if (memory.size < kMinMemory || memory.size > config.size || !is_aligned(memory.size, MiB))
        return refuse(place, "boot_size",
                      fmt::format("a multiple of 1 MiB, no more than size, {},", config.size),
                      std::to_string(memory.size));
    if (config.hotplug_size.value_or(0) > kMaxMemory - config.size)
        return refuse(place, "hotplug_size",
                      fmt::format("a size, with size no more than {},", format_size(kMaxMemory)),
                      std::to_string(*config.hotplug_size));
    // Clients give what the host has beside the guest, which is no round number.
    memory.room = align_down(config.hotplug_size.value_or(0), layout::kMemoryUnit);
    memory.plugged = config.size - memory.size;
    if (config.hotplug_method == HotplugMethod::kVirtioMem && memory.plugged > 0)
        return refuse(place, "boot_size", "size, or left out, with VirtioMem,", std::to_string(memory.size));
    if (memory.plugged > memory.room || !is_aligned(memory.plugged, layout::kMemoryUnit))
        return refuse(place, "boot_size",
                      fmt::format("size less a multiple of {} that is no more than hotplug_size",
                                  format_size(layout::kMemoryUnit)),
                      std::to_string(memory.size));
    memory.hugepages = config.hugepages;
    if (config.hugepage_size) {
        const std::uint64_t page = *config.hugepage_size;
        if (page != 2 * MiB && page != GiB)
            return refuse(place, "hugepage_size", "2 MiB or 1 GiB, in bytes,", std::to_string(page));
        if (config.hugepages && !is_aligned(config.size, page))
            return refuse(place, "size", fmt::format("a multiple of hugepage_size, {},", page),
                          std::to_string(config.size));
        memory.hugepage_size = page;
        if (config.hugepages) memory.room = align_down(memory.room, std::max(page, layout::kMemoryUnit));
    }
    // Clients send their default for both: huge pages of hugetlbfs have no transparent ones.
    memory.thp = config.thp && !config.hugepages;
    memory.prefault = config.prefault;
    if (config.hotplug_method == HotplugMethod::kVirtioMem) {
        memory.growth = MemoryGrowth::kVirtioMem;
        memory.plugged = config.hotplugged_size.value_or(0);
        if (const auto fits = virtio::mem::check(memory); !fits)
            return fail_input("memory.hotplugged_size: {}", fits.error().text());
    }
    return memory;
}

void name_devices(VmConfig& config) {
    name(config.disks, "_disk");
    name(config.net, "_net");
    name(config.fs, "_fs");
    name(config.consoles, "_console");
    if (config.vsock && !config.vsock->id) config.vsock->id = "_vsock0";
    if (config.balloon && !config.balloon->id) config.balloon->id = virtio::balloon::Config{}.id;
}

Result<> check_devices(const MachineConfig& machine) {
    HAKO_TRY(check_segments(machine));
    // cloud-init's disk has a slot of its own.
    const auto helpers = static_cast<std::size_t>(std::ranges::count_if(
        machine.helpers, [](const seed::Helper& helper) { return helper.id != seed::kSeedId; }));
    const std::size_t count = machine.disks.size() + helpers + machine.nets.size() + machine.consoles.size() +
                              machine.vsocks.size() + machine.fs.size();
    if (count > kMaxDevices)
        return fail_input(
            "disks, helper_disks, net, console, vsock and fs: {} devices are more than fit, at most {}",
            count, kMaxDevices);
    std::vector<std::string_view> ids;
    for (const auto& disk : machine.disks)
        ids.push_back(disk.id);
    for (const auto& helper : machine.helpers)
        ids.push_back(helper.id);
    for (const auto& net : machine.nets)
        ids.push_back(net.id);
    for (const auto& console : machine.consoles)
        ids.push_back(console.id);
    for (const auto& vsock : machine.vsocks)
        ids.push_back(vsock.id);
    for (const auto& fs : machine.fs)
        ids.push_back(fs.id);
    if (machine.balloon) ids.push_back(machine.balloon->id);
    std::ranges::sort(ids);
    if (const auto twice = std::ranges::adjacent_find(ids); twice != ids.end())
        return fail_input(
            "disks, helper_disks, net, console, vsock, fs and balloon: the id {} is given twice: ids must "
            "differ",
            *twice);
    for (std::size_t index = 0; index < machine.nets.size(); ++index) {
        const auto& net = machine.nets[index];
        for (std::size_t before = 0; before < index; ++before) {
            const auto& other = machine.nets[before];
            if (!net.tap.empty() && !net.tap.ends_with("%d") && net.tap == other.tap)
                return fail_input("net[{}].tap: {} is taken by net[{}]: each interface needs its own", index,
                                  net.tap, before);
            if (!net.socket.empty() && net.socket == other.socket)
                return fail_input("net[{}].socket: {} is taken by net[{}]: each interface needs its own",
                                  index, net.socket, before);
        }
    }
    return check_fs(machine.fs);
}

Result<MachineConfig> to_machine(const VmConfig& config) {
    HAKO_TRY(check_supported(config));
    if (config.platform) HAKO_TRY(check_platform(*config.platform));
    HAKO_TRY(check_rng(config.rng));
    MachineConfig machine;
    if (config.platform) machine.pci_segments = config.platform->num_pci_segments;
    if (machine.rng) machine.rng->pci_segment = config.rng.pci_segment.value_or(0);
    machine.payload = HAKO_TRY(to_machine(config.payload));
    machine.cpus = HAKO_TRY(to_machine(config.cpus));
    machine.memory = HAKO_TRY(to_machine(config.memory));
    machine.serial = HAKO_TRY(to_machine(config.serial, at("serial")));
    HAKO_TRY(add_console(config.console, machine));
    const json::Place consoles = at("consoles");
    for (std::size_t index = 0; index < config.consoles.size(); ++index)
        machine.consoles.push_back(
            HAKO_TRY(to_machine(config.consoles[index], {.outer = &consoles, .name = {}, .index = index})));
    const json::Place disks = at("disks");
    for (std::size_t index = 0; index < config.disks.size(); ++index)
        machine.disks.push_back(
            HAKO_TRY(to_machine(config.disks[index], {.outer = &disks, .name = {}, .index = index})));
    const json::Place nets = at("net");
    for (std::size_t index = 0; index < config.net.size(); ++index)
        machine.nets.push_back(
            HAKO_TRY(to_machine(config.net[index], {}, {.outer = &nets, .name = {}, .index = index})));
    if (config.vsock) machine.vsocks.push_back(HAKO_TRY(to_machine(*config.vsock, at("vsock"))));
    if (config.balloon) {
        machine.balloon = HAKO_TRY(to_machine(*config.balloon, at("balloon")));
        HAKO_TRY_WRAP(virtio::balloon::check(*machine.balloon, machine.memory), "balloon");
    }
    if (config.watchdog) machine.watchdog.emplace();
    const json::Place fs = at("fs");
    for (std::size_t index = 0; index < config.fs.size(); ++index)
        machine.fs.push_back(
            HAKO_TRY(to_machine(config.fs[index], {.outer = &fs, .name = {}, .index = index})));
    HAKO_TRY(add_helpers(config, machine));
    HAKO_TRY(check_devices(machine));
    HAKO_TRY(check_addresses(machine));
    return machine;
}

VmConfig from_machine(const MachineConfig& config, const VmConfig& sent) {
    VmConfig vm = sent;
    vm.payload.kernel = config.payload.kernel;
    if (!config.payload.initrd.empty()) vm.payload.initramfs = config.payload.initrd;
    if (!config.payload.command_line.empty()) vm.payload.cmdline = config.payload.command_line;
    vm.cpus.boot_vcpus = config.cpus.count;
    vm.cpus.max_vcpus = std::max(vm.cpus.max_vcpus, config.cpus.most());
    vm.memory.boot_size.reset();
    if (config.memory.growth == MemoryGrowth::kVirtioMem) {
        vm.memory.hotplug_method = HotplugMethod::kVirtioMem;
        vm.memory.size = config.memory.size;
        vm.memory.hotplugged_size = config.memory.plugged;
    } else {
        vm.memory.size = config.memory.total();
        if (config.memory.plugged > 0) vm.memory.boot_size = config.memory.size;
    }
    if (!vm.memory.hotplug_size && config.memory.room > 0) vm.memory.hotplug_size = config.memory.room;
    vm.memory.hugepages = config.memory.hugepages;
    if (config.memory.hugepage_size != 0) vm.memory.hugepage_size = config.memory.hugepage_size;
    vm.memory.thp = config.memory.thp;
    vm.memory.prefault = config.memory.prefault;
    vm.memory.shared = true;
    vm.disks = merge(config.disks, sent.disks);
    vm.net = merge(config.nets, sent.net);
    vm.serial = from_machine(config.serial);
    if (vm.console.mode != ConsoleMode::kTty) vm.console = {.mode = ConsoleMode::kOff};
    vm.consoles.clear();
    for (const virtio::console::Config& console : config.consoles) {
        if (is_plain(console)) {
            vm.console = from_machine(console.console);
            if (console.pci_segment != 0) vm.console.pci_segment = console.pci_segment;
        } else {
            vm.consoles.push_back(from_machine(console));
        }
    }
    if (config.rng && config.rng->pci_segment != 0) vm.rng.pci_segment = config.rng->pci_segment;
    if (config.pci_segments > 1 && !vm.platform) vm.platform.emplace().num_pci_segments = config.pci_segments;
    vm.vsock.reset();
    for (const virtio::vsock::Config& vsock : config.vsocks)
        vm.vsock = from_machine(vsock);
    vm.balloon.reset();
    if (config.balloon) vm.balloon = from_machine(*config.balloon);
    vm.watchdog = config.watchdog.has_value();
    vm.fs = merge(config.fs, sent.fs);
    vm.cloud_init.reset();
    vm.helper_disks.clear();
    return vm;
}

}  // namespace hako::api
