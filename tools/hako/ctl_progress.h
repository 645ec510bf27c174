// What vm.migration-progress says, in a line for people. Each takes its answer, JSON.
#pragma once

#include <string>
#include <string_view>

namespace hako {

/// "ongoing", "finished" or what else it says.
[[nodiscard]] std::string migration_status(std::string_view json);
/// Of one under way: "[#####-----]  51 %  round 3  812 MiB/s  dirty 40 MiB/s  downtime 12 ms (predicted)"
[[nodiscard]] std::string migration_bar(std::string_view json);
/// Of one that is over: "moved in 2.1 s: 1.2 GiB in 4 rounds, downtime 11 ms"
[[nodiscard]] std::string migration_end(std::string_view json);

}  // namespace hako
