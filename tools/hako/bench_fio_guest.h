// fio in a guest, measured from outside.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "tools/hako/bench_command.h"
#include "tools/hako/bench_guest.h"
#include "tools/hako/bench_meter.h"

namespace hako::bench {

/// How long a job may take, on a slow host, with fio's start and end.
std::chrono::seconds fio_limit(const Command& command);

/// Runs the program `words` in the guest (fio_words()); a unit of work is a request.
Result<Figures> run_fio(Guest& guest, const Command& command, const std::vector<std::string>& words,
                        bool counting);

}  // namespace hako::bench
