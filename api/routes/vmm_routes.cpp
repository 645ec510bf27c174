#include "api/routes/vmm_routes.h"

#include <unistd.h>

#include <utility>

#include "api/routes/handler.h"
#include "api/schema/ping.h"

namespace hako::api {
namespace {

Result<std::string> ping(http::Request& /*request*/) {
    return json::encode(VmmPingResponse{.build_version = "v" HAKO_VERSION,
                                        .version = HAKO_VERSION,
                                        .pid = static_cast<std::uint32_t>(::getpid()),
                                        .features = {"io_uring", "kvm"}});
}

http::Response shut_down(Vmm& vmm, EventLog& events, const std::function<void()>& then) {
    if (auto removed = vmm.remove(); !removed)
        return respond(std::unexpected(std::move(removed).error().wrap("The VMM could not shutdown")));
    events.add("vmm", "shutdown");
    // 200 without a body, and not 204: so does Cloud Hypervisor here.
    http::Response response = http::ok("");
    response.then = then;
    return response;
}

}  // namespace

void add_vmm_routes(Router& router, Vmm& vmm, EventLog& events, std::function<void()> on_shutdown) {
    router.get("vmm.ping", handler(ping));
    router.put("vmm.shutdown", Router::Body::kNone,
               [&vmm, &events,
                then = std::move(on_shutdown)](http::Request&) -> boost::asio::awaitable<http::Response> {
                   std::function<void(Done)> start = [&](const Done& done) {
                       vmm.job().cancel_then([&, done] { done(shut_down(vmm, events, then)); });
                   };
                   co_return co_await on_control(vmm.control(), std::move(start));
               });
}

}  // namespace hako::api
