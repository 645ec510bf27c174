#include "tools/hako/ctl_verbs.h"

#include <algorithm>
#include <cctype>

namespace hako::cli {
namespace {

using Kind = CtlPositional::Kind;
using Body = CtlVerb::Body;

constexpr bool kGet = true;
constexpr bool kPut = false;

constexpr std::array kVerbs = {
    CtlVerb{"ping", kGet, "/api/v1/vmm.ping", Body::kNone, {}, "who answers"},
    CtlVerb{"info", kGet, "/api/v1/vm.info", Body::kNone, {}, "the VM's state and what it is made of"},
    CtlVerb{"counters", kGet, "/api/v1/vm.counters", Body::kNone, {}, "what its devices did"},
    CtlVerb{"events",
            kGet,
            "/api/v1/events",
            Body::kQuery,
            {},
            "what happened and happens; keys: since=N follow=true|false"},
    CtlVerb{"metrics", kGet, "/metrics", Body::kNone, {}, "all numbers, as Prometheus reads them"},
    CtlVerb{"create", kPut, "/api/v1/vm.create", Body::kFile, {}, "a VM as a JSON file says it"},
    CtlVerb{"boot", kPut, "/api/v1/vm.boot", Body::kNone, {}, "start the VM"},
    CtlVerb{"pause", kPut, "/api/v1/vm.pause", Body::kNone, {}, "hold it"},
    CtlVerb{"resume", kPut, "/api/v1/vm.resume", Body::kNone, {}, "let it go on"},
    CtlVerb{"power-button", kPut, "/api/v1/vm.power-button", Body::kNone, {}, "ask the guest to power off"},
    CtlVerb{"reboot", kPut, "/api/v1/vm.reboot", Body::kNone, {}, "start it again, without asking"},
    CtlVerb{"shutdown", kPut, "/api/v1/vm.shutdown", Body::kNone, {}, "stop it, without asking"},
    CtlVerb{"delete", kPut, "/api/v1/vm.delete", Body::kNone, {}, "stop and forget it"},
    CtlVerb{"shutdown-vmm", kPut, "/api/v1/vmm.shutdown", Body::kNone, {}, "end the process"},
    CtlVerb{"nmi", kPut, "/api/v1/vm.nmi", Body::kNone, {}, "send a non-maskable interrupt to each CPU"},
    CtlVerb{"coredump",
            kPut,
            "/api/v1/vm.coredump",
            Body::kObject,
            {{{"destination_url", Kind::kFileUrl}}},
            "memory and registers into a new file"},
    CtlVerb{"snapshot",
            kPut,
            "/api/v1/vm.snapshot",
            Body::kObject,
            {{{"destination_url", Kind::kFileUrl}}},
            "the paused VM into a folder; live=true: one that runs on"},
    CtlVerb{"restore",
            kPut,
            "/api/v1/vm.restore",
            Body::kObject,
            {{{"source_url", Kind::kFileUrl}}},
            "a VM from a folder; resume=true lets it run; @FILE with a whole body for a clone"},
    CtlVerb{"migrate",
            kPut,
            "/api/v1/vm.send-migration",
            Body::kObject,
            {{{"destination_url", Kind::kText}}},
            "move the VM away, and show how far it is until it has moved; migrate_disks+=ID copies that "
            "disk, too"},
    CtlVerb{"send-migration",
            kPut,
            "/api/v1/vm.send-migration",
            Body::kObject,
            {{{"destination_url", Kind::kText}}},
            "begin to move the VM away"},
    CtlVerb{"receive-migration",
            kPut,
            "/api/v1/vm.receive-migration",
            Body::kObject,
            {{{"receiver_url", Kind::kText}}},
            "wait for a VM and take it over"},
    CtlVerb{"migration-progress",
            kGet,
            "/api/v1/vm.migration-progress",
            Body::kNone,
            {},
            "how far a migration is, or how it ended"},
    CtlVerb{"cancel-migration",
            kPut,
            "/api/v1/vm.cancel-migration",
            Body::kNone,
            {},
            "end a migration, as long as the VM is not handed over"},
    CtlVerb{"migration-bandwidth",
            kPut,
            "/api/v1/vm.migration-bandwidth",
            Body::kObject,
            {{{"bandwidth", Kind::kSize}}},
            "how fast memory may be sent, a second; 0: no limit"},
    CtlVerb{"reclaim-migration",
            kPut,
            "/api/v1/vm.reclaim-migration",
            Body::kNone,
            {},
            "take back a VM that was handed over and does not run there"},
    CtlVerb{"add-disk", kPut, "/api/v1/vm.add-disk", Body::kObject, {{{"path", Kind::kText}}}, "plug a disk"},
    CtlVerb{"add-net",
            kPut,
            "/api/v1/vm.add-net",
            Body::kObject,
            {},
            "plug a network interface; fd=N hands over an open tap"},
    CtlVerb{"add-console",
            kPut,
            "/api/v1/vm.add-console",
            Body::kObject,
            {},
            "plug a virtio console: mode=Socket socket=PATH, and ports"},
    CtlVerb{"add-vsock", kPut, "/api/v1/vm.add-vsock", Body::kObject, {}, "plug a vsock: cid=N socket=PATH"},
    CtlVerb{"remove-device",
            kPut,
            "/api/v1/vm.remove-device",
            Body::kObject,
            {{{"id", Kind::kText}}},
            "unplug a device; force=true does not ask the guest"},
    CtlVerb{"eject-helper",
            kPut,
            "/api/v1/vm.eject-helper",
            Body::kObject,
            {{{"id", Kind::kText}}},
            "unplug a helper disk; force=true does not ask the guest"},
    CtlVerb{"update-helper",
            kPut,
            "/api/v1/vm.update-helper",
            Body::kObject,
            {{{"id", Kind::kText}}},
            "new files for a helper disk: files.NAME=TEXT, or @FILE with a whole body"},
    CtlVerb{"resize-disk",
            kPut,
            "/api/v1/vm.resize-disk",
            Body::kObject,
            {{{"id", Kind::kText}, {"desired_size", Kind::kSize}}},
            "make a disk larger"},
    CtlVerb{"set-link",
            kPut,
            "/api/v1/vm.set-link",
            Body::kObject,
            {{{"id", Kind::kText}, {"up", Kind::kSwitch}}},
            "plug a cable in or out: on or off"},
    CtlVerb{"set-limits",
            kPut,
            "/api/v1/vm.set-limits",
            Body::kObject,
            {{{"id", Kind::kText}}},
            "how fast a device may go; keys: rate_limiter_config.bandwidth.size=N and the like"},
    CtlVerb{"announce", kPut, "/api/v1/vm.announce", Body::kNone, {}, "have drivers tell their addresses"},
    CtlVerb{"resize",
            kPut,
            "/api/v1/vm.resize",
            Body::kObject,
            {},
            "more or fewer CPUs, more or less memory, another balloon: desired_vcpus=N desired_ram=SIZE "
            "desired_balloon=SIZE"},
    CtlVerb{"resize-zone",
            kPut,
            "/api/v1/vm.resize-zone",
            Body::kObject,
            {{{"id", Kind::kText}, {"desired_ram", Kind::kSize}}},
            "a memory zone (hako has none)"},
    CtlVerb{"add-device",
            kPut,
            "/api/v1/vm.add-device",
            Body::kObject,
            {{{"path", Kind::kText}}},
            "a VFIO device (not in hako yet)"},
    CtlVerb{"add-user-device",
            kPut,
            "/api/v1/vm.add-user-device",
            Body::kObject,
            {{{"socket", Kind::kText}}},
            "a vfio-user device (not in hako yet)"},
    CtlVerb{"add-fs",
            kPut,
            "/api/v1/vm.add-fs",
            Body::kObject,
            {{{"tag", Kind::kText}, {"socket", Kind::kText}}},
            "plug a shared directory, which the daemon at SOCKET serves"},
    CtlVerb{"add-generic-vhost-user",
            kPut,
            "/api/v1/vm.add-generic-vhost-user",
            Body::kObject,
            {},
            "a vhost-user device (not in hako yet)"},
    CtlVerb{"add-pmem",
            kPut,
            "/api/v1/vm.add-pmem",
            Body::kObject,
            {{{"file", Kind::kText}}},
            "persistent memory (not in hako yet)"},
    CtlVerb{"add-vdpa",
            kPut,
            "/api/v1/vm.add-vdpa",
            Body::kObject,
            {{{"path", Kind::kText}}},
            "a vDPA device (not in hako yet)"},
};

std::string upper(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), [](unsigned char c) { return std::toupper(c); });
    return out;
}

}  // namespace

std::span<const CtlVerb> ctl_verbs() {
    return kVerbs;
}

const CtlVerb* find_ctl_verb(std::string_view name) {
    const auto* const found = std::ranges::find(kVerbs, name, &CtlVerb::name);
    return found == kVerbs.end() ? nullptr : &*found;
}

std::string ctl_usage(const CtlVerb& verb) {
    std::string usage(verb.name);
    for (const CtlPositional& positional : verb.positionals) {
        if (positional.kind == Kind::kNone) continue;
        usage += " " + (positional.kind == Kind::kFileUrl  ? "PATH"
                        : positional.kind == Kind::kSwitch ? "on|off"
                        : positional.kind == Kind::kSize   ? "SIZE"
                                                           : upper(positional.field));
    }
    if (verb.body == Body::kFile) usage += " FILE";
    if (verb.body == Body::kObject || verb.body == Body::kQuery) usage += " [KEY=VALUE...]";
    return usage;
}

}  // namespace hako::cli
