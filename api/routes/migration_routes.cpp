#include "api/routes/migration_routes.h"

#include <utility>

#include "api/routes/handler.h"

namespace hako::api {
namespace {

Result<std::string> nothing(Result<> outcome, std::string_view failed) {
    HAKO_TRY_WRAP(std::move(outcome), "{}", failed);
    return std::string();
}

}  // namespace

void add_migration_routes(Router& router, Vmm& vmm, Migrations& migrations) {
    router.put("vm.send-migration", Router::Body::kRequired,
               handler<SendMigrationData>(
                   vmm.control(), [&migrations](const SendMigrationData& wanted, http::Request&) {
                       return nothing(migrations.send(wanted), "The VM could not be sent");
                   }));
    router.put("vm.receive-migration", Router::Body::kRequired,
               [&vmm, &migrations](http::Request& request) -> boost::asio::awaitable<http::Response> {
                   const Result<ReceiveMigrationData> wanted =
                       json::decode<ReceiveMigrationData>(request.body);
                   if (!wanted) co_return http::failure(wanted.error());
                   std::function<void(Done)> start = [&](const Done& done) {
                       migrations.receive(*wanted, std::move(request.fds), [done](Result<> outcome) {
                           done(respond(nothing(std::move(outcome), "The VM could not be received")));
                       });
                   };
                   co_return co_await on_control(vmm.control(), std::move(start));
               });
    router.get("vm.migration-progress", handler([&migrations](http::Request&) -> Result<std::string> {
                   return json::encode(HAKO_TRY(migrations.progress()));
               }));
    router.put("vm.cancel-migration", Router::Body::kNone, handler([&migrations](http::Request&) {
                   return nothing(migrations.cancel(), "The migration could not be cancelled");
               }));
    router.put("vm.migration-bandwidth", Router::Body::kRequired,
               handler<MigrationBandwidth>(vmm.control(),
                                           [&migrations](const MigrationBandwidth& wanted, http::Request&) {
                                               return nothing(migrations.set_bandwidth(wanted.bandwidth),
                                                              "The bandwidth could not be changed");
                                           }));
    router.put("vm.reclaim-migration", Router::Body::kNone,
               handler(vmm.control(), [&migrations](http::Request&) {
                   return nothing(migrations.reclaim(), "The VM could not be reclaimed");
               }));
}

}  // namespace hako::api
