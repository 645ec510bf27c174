// `hako bench`: what to measure, as the user asked for it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vmm/base/units.h"

namespace hako::bench {

enum class Subject { kBlk, kNet, kVsock, kFs };

struct Command {
    Subject subject = Subject::kBlk;
    std::string kernel;
    std::string initrd;        ///< "": none
    std::string command_line;  ///< has the guest end in a root shell on its first serial port
    std::string image;         ///< root disk, which all guests read and none writes; "": none
    std::string peer;          ///< QEMU to compare with; "": none
    std::uint32_t cpus = 1;    ///< of each guest; also the number of queues of each device
    std::uint64_t memory = GiB;
    std::string directory = "/var/tmp";             ///< where the files under test lie, removed afterwards
    std::uint64_t file_size = 512 * MiB;            ///< of each of the larger ones
    std::string daemon = "/usr/libexec/virtiofsd";  ///< that serves shared directories
    std::uint32_t rounds = 3;
    std::uint32_t seconds = 3;
    std::vector<std::string> jobs;  ///< names of jobs, in the order of the table; empty: all
    bool json = false;
    bool verbose = false;  ///< each measurement on stderr as it is made
};

}  // namespace hako::bench
