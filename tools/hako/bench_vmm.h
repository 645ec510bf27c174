// The same VM, as hako is started for it and as QEMU is.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/hako/bench_command.h"

namespace hako::bench {

/// What is under test in one VM. What is empty is not there.
struct Hardware {
    std::string disk = {};  ///< path of the raw file, beside the root disk
    std::string tap = {};   ///< name
    bool vhost = false;
    std::string vsock = {};  ///< hako: path of the unix socket; QEMU has the host's vhost-vsock
    std::string fs = {};     ///< socket of a virtiofsd
};

/// The serial number of the disk under test, by which the guest finds it.
inline constexpr const char* kDiskSerial = "bench";
/// The tag of the shared directory under test.
inline constexpr const char* kFsTag = "bench";

/// `program`: the running hako.
std::vector<std::string> hako_words(const std::string& program, const Command& command,
                                    const Hardware& hardware);
/// As one sets QEMU up for speed: KVM, virtio on PCI, an I/O thread, io_uring, no host page cache.
std::vector<std::string> qemu_words(const Command& command, const Hardware& hardware);

}  // namespace hako::bench
