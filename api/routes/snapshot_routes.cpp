#include "api/routes/snapshot_routes.h"

#include <utility>

#include "api/routes/handler.h"

namespace hako::api {
namespace {

/// Cloud Hypervisor has no field but the first.
bool is_own(const VmSnapshotConfig& wanted) {
    return wanted != VmSnapshotConfig{.destination_url = wanted.destination_url};
}

/// 204 as Cloud Hypervisor answers; who asks for more is told how it went.
http::Response answer(bool own, Result<SnapshotReport> report) {
    if (!report)
        return respond(std::unexpected(std::move(report).error().wrap("The VM could not be snapshotted")));
    return respond(own ? json::encode(*report) : std::string());
}

}  // namespace

void add_snapshot_routes(Router& router, Vmm& vmm, Snapshots& snapshots) {
    router.put("vm.snapshot", Router::Body::kRequired,
               [&vmm, &snapshots](http::Request& request) -> boost::asio::awaitable<http::Response> {
                   const Result<VmSnapshotConfig> wanted = json::decode<VmSnapshotConfig>(request.body);
                   if (!wanted) co_return http::failure(wanted.error());
                   std::function<void(Done)> start = [&](const Done& done) {
                       snapshots.take(*wanted, [own = is_own(*wanted), done](Result<SnapshotReport> report) {
                           done(answer(own, std::move(report)));
                       });
                   };
                   co_return co_await on_control(vmm.control(), std::move(start));
               });
    router.put("vm.restore", Router::Body::kRequired,
               handler<RestoreConfig>(
                   vmm.control(),
                   [&snapshots](const RestoreConfig& wanted, http::Request& request) -> Result<std::string> {
                       HAKO_TRY_WRAP(snapshots.restore(wanted, std::move(request.fds)),
                                     "The VM could not be restored");
                       return std::string();
                   }));
}

}  // namespace hako::api
