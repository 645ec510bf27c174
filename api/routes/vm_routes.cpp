#include "api/routes/vm_routes.h"

#include <unistd.h>

#include "api/json/codec.h"
#include "api/routes/handler.h"
#include "api/schema/ping.h"

namespace hako::api {

void add_vm_routes(Router& router, Instance& instance) {
    router.get("vmm.ping", handler([](http::Request&) -> Result<std::string> {
                   return json::encode(VmmPingResponse{.build_version = "v" HAKO_VERSION,
                                                       .version = HAKO_VERSION,
                                                       .pid = static_cast<std::uint32_t>(::getpid()),
                                                       .features = {"io_uring", "kvm"}});
               }));
    const auto put = [&](std::string_view name, Result<> (Instance::*action)()) {
        router.put(name, Router::Body::kNone,
                   handler([&instance, action](http::Request&) -> Result<std::string> {
                       HAKO_TRY((instance.*action)());
                       return std::string();
                   }));
    };
    put("vm.pause", &Instance::pause);
    put("vm.resume", &Instance::resume);
    put("vm.power-button", &Instance::press_power_button);
}

}  // namespace hako::api
