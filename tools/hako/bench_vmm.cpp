#include "tools/hako/bench_vmm.h"

#include <fmt/core.h>
#include <unistd.h>

#include <string_view>

namespace hako::bench {
namespace {

/// Both guests see the same address; each is alone on its tap.
constexpr std::string_view kMac = "02:00:00:00:00:07";
/// Far from those that people give by hand.
constexpr ::pid_t kFirstCid = 1 << 24;

/// Both programs split their options at commas, and take two for one.
std::string escaped(std::string_view path) {
    std::string out;
    for (const char c : path)
        out += c == ',' ? std::string(",,") : std::string(1, c);
    return out;
}

void append(std::vector<std::string>& words, std::initializer_list<std::string> more) {
    words.insert(words.end(), more);
}

void append_payload(std::vector<std::string>& words, const Command& command, const char* prefix) {
    append(words, {fmt::format("{}kernel", prefix), command.kernel});
    if (!command.initrd.empty()) append(words, {fmt::format("{}initrd", prefix), command.initrd});
}

}  // namespace

std::vector<std::string> hako_words(const std::string& program, const Command& command,
                                    const Hardware& hardware) {
    std::vector<std::string> words = {program, "run"};
    append_payload(words, command, "--");
    append(words, {"--cmdline", command.command_line, "--cpus", fmt::format("{}", command.cpus), "--memory",
                   fmt::format("{}", command.memory), "--serial", "tty", "--no-reboot"});
    if (!command.image.empty())
        append(words, {"--disk", fmt::format("path={},readonly,serial=root", escaped(command.image))});
    if (!hardware.disk.empty())
        append(words, {"--disk", fmt::format("path={},serial={},queues={},direct=on", escaped(hardware.disk),
                                             kDiskSerial, command.cpus)});
    if (!hardware.tap.empty())
        append(words, {"--net", fmt::format("tap={},mac={},queues={},vhost={}", hardware.tap, kMac,
                                            command.cpus, hardware.vhost ? "on" : "off")});
    if (!hardware.vsock.empty())
        append(words, {"--vsock", fmt::format("cid=3,socket={}", escaped(hardware.vsock))});
    if (!hardware.fs.empty())
        append(words, {"--fs", fmt::format("tag={},socket={}", kFsTag, escaped(hardware.fs))});
    return words;
}

std::vector<std::string> qemu_words(const Command& command, const Hardware& hardware) {
    std::vector<std::string> words = {command.peer, "-nodefaults", "-no-user-config",
                                      "-display",   "none",        "-no-reboot"};
    append(words,
           {"-machine", hardware.fs.empty() ? "q35,accel=kvm" : "q35,accel=kvm,memory-backend=memory", "-cpu",
            "host", "-smp", fmt::format("{}", command.cpus), "-m", fmt::format("{}M", command.memory / MiB)});
    append_payload(words, command, "-");
    append(words, {"-append", command.command_line, "-chardev", "stdio,id=serial,signal=off", "-serial",
                   "chardev:serial", "-object", "iothread,id=io0"});
    if (!command.image.empty())
        append(words, {"-drive",
                       fmt::format("if=none,id=root,format=raw,readonly=on,file.locking=off,file.filename={}",
                                   escaped(command.image)),
                       "-device", "virtio-blk-pci,drive=root,serial=root,iothread=io0"});
    if (!hardware.disk.empty())
        append(words, {"-drive",
                       fmt::format("if=none,id=data,format=raw,cache=none,aio=io_uring,discard=unmap,"
                                   "file.filename={}",
                                   escaped(hardware.disk)),
                       "-device",
                       fmt::format("virtio-blk-pci,drive=data,serial={},iothread=io0,num-queues={}",
                                   kDiskSerial, command.cpus)});
    if (!hardware.tap.empty()) {
        const bool many = command.cpus > 1;
        append(words, {"-netdev",
                       fmt::format("tap,id=net,ifname={},script=no,downscript=no,vhost={}{}", hardware.tap,
                                   hardware.vhost ? "on" : "off",
                                   many ? fmt::format(",queues={}", command.cpus) : ""),
                       "-device",
                       fmt::format("virtio-net-pci,netdev=net,mac={}{}", kMac,
                                   many ? fmt::format(",mq=on,vectors={}", 2 * command.cpus + 2) : "")});
    }
    if (!hardware.vsock.empty())
        // The host knows each guest by its CID.
        append(words, {"-device", fmt::format("vhost-vsock-pci,guest-cid={}", kFirstCid + ::getpid())});
    if (!hardware.fs.empty())
        append(words,
               {"-object", fmt::format("memory-backend-memfd,id=memory,size={},share=on", command.memory),
                "-chardev", fmt::format("socket,id=fs,path={}", escaped(hardware.fs)), "-device",
                fmt::format("vhost-user-fs-pci,chardev=fs,tag={},queue-size=1024", kFsTag)});
    return words;
}

}  // namespace hako::bench
