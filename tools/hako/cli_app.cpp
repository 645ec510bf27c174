#include "tools/hako/cli_app.h"

#include "tools/hako/ctl_verbs.h"

namespace hako::cli {
namespace {

constexpr const char* kBoot = "What to boot";
constexpr const char* kHardware = "The machine";
constexpr const char* kConduct = "How it runs";
constexpr const char* kOther = "Other";
constexpr const char* kHidden = "";

/// An option with one value each time it is given. How often that may be is checked later, with a better
/// message.
void value(CLI::App& command, const char* name, App::Values& values, const char* type, const char* group,
           const char* description) {
    command.add_option(name, values, description)->type_name(type)->group(group)->allow_extra_args(false);
}

void flag(CLI::App& command, const char* name, bool& given, const char* group, const char* description) {
    command.add_flag(name, given, description)->group(group)->disable_flag_override();
}

}  // namespace

App::App() : root("hako runs virtual machines on KVM: one process, one VM.", "hako") {
    root.set_help_flag();
    root.require_subcommand(0, 1);
    root.allow_extras();
    run = root.add_subcommand("run", "boot a VM and stay with it until it ends");
    serve = root.add_subcommand("serve", "wait for a client to make a VM over the REST API");
    ctl = root.add_subcommand("ctl", "drive a VM over its REST API");
    seed =
        root.add_subcommand("seed", "build, check and show small disks, such as cloud-init's, without a VM");
    doctor = root.add_subcommand("doctor", "say whether this host can run VMs, and what to do if not");
    bench = root.add_subcommand("bench", "measure a device of guests, side by side with QEMU");
    state = root.add_subcommand("state", "show what is in a saved state of a VM");
    snapshot = root.add_subcommand("snapshot", "make one snapshot of a full one and differential ones");
    completion = root.add_subcommand("completion", "print a completion script for a shell");
    for (CLI::App* command : {run, serve, ctl, seed, doctor, bench, state, snapshot, completion}) {
        command->set_help_flag();
        command->allow_extras();
    }

    value(*run, "--kernel", kernel, "PATH", kBoot,
          "Linux bzImage (vmlinuz), or an ELF kernel with a PVH note");
    value(*run, "--initrd", initrd, "PATH", kBoot, "initial RAM disk");
    value(*run, "--cmdline", cmdline, "TEXT", kBoot,
          "kernel command line, e.g. \"root=/dev/vda console=ttyS0\"");
    for (CLI::App* command : {run, seed}) {
        value(*command, "--cloud-init", cloud_init, "PATH[,META[,NETWORK]]", kBoot,
              "user-data file, and meta-data and network-config if any, as a NoCloud disk; keys: user-data= "
              "meta-data= network-config= vendor-data= instance-id=TEXT hostname=TEXT format=iso9660|vfat");
        value(*command, "--helper-disk", helper_disk, "id=TEXT,folder=PATH", kBoot,
              "small read-only disk with the files of a folder, repeatable; further keys: label=TEXT "
              "serial=TEXT "
              "format=iso9660|vfat mode=OCTAL (of all files)");
    }

    value(
        *run, "--config", config, "PATH", kBoot,
        "the whole VM as JSON, as the REST API's vm.create takes it, instead of the options above and below");

    value(*run, "--cpus", cpus, "N[,max=M]", kHardware,
          "number of CPUs, 1 to 64 (default 1), and how many `hako ctl resize` may make of them");
    value(*run, "--memory", memory, "SIZE[,KEY=VALUE...]", kHardware,
          "memory such as 512M or 2G (default 512M); keys: size= hotplug=SIZE (may grow by) "
          "hotplug_method=acpi|virtio-mem hotplugged=SIZE (of that, with virtio-mem, to be plugged at once) "
          "hugepages=on|off|2M|1G thp=on|off prefault=on|off");
    value(*run, "--disk", disk, "PATH[,KEY=VALUE...]", kHardware,
          "raw image or block device, repeatable; keys: path= readonly serial=TEXT direct=on|off queues=N "
          "queue_size=N id=TEXT bandwidth=SIZE/s iops=N bandwidth_burst=SIZE iops_burst=N; write a comma in "
          "a path as \",,\"");
    value(
        *run, "--net", net, "tap=NAME|socket=PATH|fd=N", kHardware,
        "network interface on a tap, on the socket of passt, or on open taps (one fd= for each queue) or an "
        "open socket, repeatable; further keys: vhost=on|off mac=ADDRESS mtu=N queues=N id=TEXT, and for "
        "each direction bandwidth=SIZE/s pps=N bandwidth_burst=SIZE pps_burst=N");
    value(*run, "--rng", rng, "off|bandwidth=SIZE/s", kHardware,
          "no entropy device, or how many of the host's random bytes the guest gets (default: as many as it "
          "wants); further key: bandwidth_burst=SIZE");
    value(*run, "--balloon", balloon, "[size=SIZE]", kHardware,
          "balloon: memory that the guest is to do without (default 0, changed by `hako ctl resize`), and "
          "that the "
          "host has meanwhile; further keys: deflate_on_oom=on|off (a guest short of memory takes some back) "
          "free_page_reporting=on|off (pages that the guest does not use are the host's, too)");
    flag(*run, "--watchdog", watchdog, kHardware,
         "watchdog (Linux: i6300esb): a guest that has begun to reload it and stops doing so is rebooted");
    value(*run, "--serial", serial, "tty|pty|file=PATH|socket=PATH|null|off", kHardware,
          "where the serial port (console=ttyS0) goes (default tty); file=PATH,socket=PATH is both; a socket "
          "takes one client at a time");
    value(*run, "--console", console, "tty|pty|file=PATH|socket=PATH|null|off", kHardware,
          "where the virtio console (console=hvc0) goes (default off), as with --serial");
    value(*run, "--port", port, "name=NAME,PLACE", kHardware,
          "port of the virtio console that programs in the guest open by its name, such as "
          "org.qemu.guest_agent.0, and where it goes, as with --serial; repeatable");
    value(*run, "--vsock", vsock, "cid=N,socket=PATH", kHardware,
          "sockets between host and guest (AF_VSOCK): the guest's address, from 3 up, and a socket where the "
          "host writes \"CONNECT PORT\"; who listens at PATH_PORT hears of the guest's connections; further "
          "key: id=TEXT");
    value(
        *run, "--fs", fs, "tag=NAME,socket=PATH", kHardware,
        "directory of the host that the guest mounts by NAME (virtiofs), and where the daemon that serves it "
        "(virtiofsd) listens; further keys: num_queues=N, queue_size=N, id=TEXT; repeatable");

    for (CLI::App* command : {run, serve})
        value(*command, "--api-socket", api_socket, "PATH|fd=N", kConduct,
              "serve the REST API on a unix socket made there, or on a listening one handed over");
    value(*serve, "--event-monitor", event_monitor, "PATH|fd=N", kConduct,
          "write what happens to the VM there as JSON; a FIFO is waited for until somebody reads it");
    value(*serve, "--log-file", log_file, "PATH", kConduct, "append the log to a file instead of stderr");
    flag(*serve, "--no-shutdown", no_shutdown, kConduct,
         "stay when the guest powers off, so that its VM can be booted again; the default of hako serve, not "
         "of its other name, cloud-hypervisor");
    value(*serve, "--seccomp", seccomp, "true|false|log|errno", kConduct,
          "taken from those who launch cloud-hypervisor; hako has no filter of system calls yet");
    value(*serve, "--dirty-log", dirty_log, "classic|manual|initially-set|ring", kConduct,
          "how KVM tells which memory a guest writes, for migrations and live snapshots, if the host can; "
          "otherwise the last that it can of the first three");
    flag(*run, "--no-reboot", no_reboot, kConduct, "end with exit code 3 when the guest asks for a reboot");
    value(*run, "--shutdown-timeout", shutdown_timeout, "SECONDS", kConduct,
          "after SIGTERM press the power button, and end the VM if it is not off by then (default 30)");
    flag(*run, "--check", check, kConduct, "check every option and file without touching KVM, then exit");
    for (CLI::App* command : {run, serve})
        command->add_flag("-v,--verbose", verbosity, "log more; twice for debugging")
            ->group(kConduct)
            ->disable_flag_override();

    std::string verbs;
    for (const CtlVerb& verb : ctl_verbs())
        verbs.append(verbs.empty() ? "" : "|").append(verb.name);
    ctl->add_option("verb", ctl_words, "what to do, and its arguments")->type_name(verbs)->group(kOther);
    value(*ctl, "--api-socket", api_socket, "PATH", kOther, "the socket that the VM's hako serves");
    flag(*ctl, "--json", json, kOther, "print answers as they come: one line of JSON");

    seed->add_option("verb", seed_words, "what to do, and its arguments")
        ->type_name("build|check|show")
        ->group(kOther);
    value(*seed, "--output", output, "PATH", kOther, "build: the image to write");

    flag(*doctor, "--json", json, kOther,
         "print JSON: {\"usable\": bool, \"checks\": [{name, status, found, advice}]}");

    bench->add_option("subject", subject, "what to measure")->type_name("blk|net|vsock|fs")->group(kOther);
    value(*bench, "--kernel", kernel, "PATH", kBoot, "the guests' kernel");
    value(*bench, "--initrd", initrd, "PATH", kBoot, "initial RAM disk");
    value(*bench, "--cmdline", cmdline, "TEXT", kBoot,
          "kernel command line that ends in a root shell on the first serial port, e.g. \"root=/dev/vda "
          "console=ttyS0 init=/bin/sh\"");
    value(*bench, "--image", image, "PATH", kBoot,
          "raw root disk with fio, iperf3 and ping, or socat on it; all guests read it, none writes");
    value(*bench, "--cpus", cpus, "N", kHardware, "CPUs of each guest and queues of its device (default 1)");
    value(*bench, "--memory", memory, "SIZE", kHardware, "memory of each guest (default 1G)");
    value(*bench, "--directory", directory, "PATH", kHardware,
          "blk, fs: where the files under test lie, on the storage to measure (default /var/tmp)");
    value(*bench, "--size", size, "SIZE", kHardware, "blk, fs: size of each large file (default 512M)");
    value(*bench, "--daemon", daemon, "PATH", kConduct,
          "fs: what serves the directories (default /usr/libexec/virtiofsd)");
    value(*bench, "--peer", peer, "PATH", kConduct, "QEMU to run beside hako, e.g. qemu-system-x86_64");
    value(*bench, "--job", job, "NAME", kConduct, "measure this job only, repeatable");
    value(*bench, "--rounds", rounds, "N", kConduct,
          "how often each job is measured under each program, by turns (default 3)");
    value(*bench, "--seconds", seconds, "N", kConduct, "how long each time (default 3)");
    flag(*bench, "--json", json, kConduct, "print JSON: {\"rows\": [{name, unit, hako, qemu, host, ratio}]}");
    bench->add_flag("-v,--verbose", verbosity, "tell each measurement")
        ->group(kConduct)
        ->disable_flag_override();

    state->add_option("action", state_words, "print the state in a file as JSON")
        ->type_name("show FILE")
        ->group(kOther);

    snapshot
        ->add_option("action", snapshot_words, "folders of snapshots, oldest first, and one for the result")
        ->type_name("merge BASE DIFF... OUT")
        ->group(kOther);

    completion->add_option("shell", shell, "the shell")->type_name("bash|zsh|fish")->group(kOther);

    for (CLI::App* command : {run, serve, ctl, seed, doctor, bench, state, snapshot, completion})
        flag(*command, "--version", version, kHidden, "");
    for (CLI::App* command : {&root, run, serve, ctl, seed, doctor, bench, state, snapshot, completion})
        flag(*command, "-h,--help", help, kOther, "print this help");
    flag(root, "--version", version, kOther, "print the version");
}

std::vector<std::string> OptionView::choices() const {
    std::vector<std::string> words;
    if (takes_path() || value.find('|') == std::string::npos) return words;
    for (std::size_t begin = 0; begin <= value.size();) {
        const std::size_t end = std::min(value.find('|', begin), value.size());
        std::string word = value.substr(begin, end - begin);
        if (const std::size_t equals = word.find('='); equals != std::string::npos) word.resize(equals + 1);
        words.push_back(std::move(word));
        begin = end + 1;
    }
    return words;
}

std::vector<OptionView> visible_options(const CLI::App& command) {
    std::vector<OptionView> views;
    for (const CLI::Option* option : command.get_options(nullptr)) {
        if (option->get_group() == kHidden) continue;
        OptionView view;
        if (!option->get_snames().empty()) view.short_name = "-" + option->get_snames().front();
        if (!option->get_lnames().empty()) view.long_name = "--" + option->get_lnames().front();
        if (option->get_type_size_max() > 0) view.value = option->get_type_name();
        view.description = option->get_description();
        view.group = option->get_group();
        views.push_back(std::move(view));
    }
    return views;
}

std::vector<const CLI::App*> commands(const CLI::App& root) {
    return root.get_subcommands(nullptr);
}

}  // namespace hako::cli
