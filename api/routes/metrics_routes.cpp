#include "api/routes/metrics_routes.h"

#include "api/metrics/vm_metrics.h"
#include "api/routes/handler.h"

namespace hako::api {
namespace {

void write_state(PrometheusText& text, const Vmm& vmm) {
    text.gauge("hako_vm_state", "1 for the state that the VM is in; no state is 1 without a VM.");
    const std::optional<VmState> now = vmm.state();
    for (const VmState state : {VmState::kCreated, VmState::kRunning, VmState::kPaused, VmState::kShutdown})
        text.sample({{"state", hako::text(state)}}, std::uint64_t{now == state ? 1U : 0U});
}

}  // namespace

void add_metrics_routes(Router& router, const Vmm& vmm, const RequestMetrics& requests) {
    router.add(http::Method::kGet, "/metrics", Router::Body::kNone, at_once([&](http::Request&) {
                   PrometheusText text;
                   text.gauge("hako_build_info", "1, labelled with the version.");
                   text.sample({{"version", HAKO_VERSION}}, std::uint64_t{1});
                   write_process(text);
                   write_state(text, vmm);
                   text.counter("hako_watchdog_resets_total",
                                "Times that a guest did not reload its watchdog.");
                   text.sample({}, vmm.watchdog_resets());
                   requests.write(text);
                   // Without a machine there is nothing to tell of it.
                   [[maybe_unused]] const auto looked =
                       vmm.look_at_machine([&](const Machine& machine) { write_machine(text, machine); });
                   http::Response response = http::ok(text.text());
                   response.content_type = PrometheusText::kContentType;
                   return response;
               }));
}

}  // namespace hako::api
