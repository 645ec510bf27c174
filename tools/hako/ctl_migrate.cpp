#include "tools/hako/ctl_migrate.h"

#include <fmt/core.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <thread>

#include "tools/hako/ctl_progress.h"
#include "tools/hako/ctl_request.h"

namespace hako {
namespace {

constexpr std::chrono::milliseconds kInterval{200};

}  // namespace

Result<> follow_migration(CtlClient& client, bool json) {
    const cli::CtlRequest request{.method = "GET", .target = "/api/v1/vm.migration-progress"};
    const bool draws = !json && ::isatty(STDERR_FILENO) != 0;
    for (;;) {
        const CtlClient::Reply reply =
            HAKO_TRY_WRAP(client.call(request, [](std::string_view) { return false; }),
                          "the migration went on, and its end is not known");
        if (reply.status != 200) return fail_host("{} {}: {}", reply.status, reply.reason, reply.body);
        const std::string status = migration_status(reply.body);
        if (status == "ongoing") {
            if (draws) fmt::print(stderr, "\r{}\033[K", migration_bar(reply.body));
            std::this_thread::sleep_for(kInterval);
            continue;
        }
        if (draws) fmt::print(stderr, "\r\033[K");
        if (json) {
            fmt::print("{}\n", reply.body);
        } else if (status == "finished") {
            fmt::print("{}\n", migration_end(reply.body));
        }
        if (status == "finished") return {};
        return fail_host("{}", migration_end(reply.body));
    }
}

}  // namespace hako
