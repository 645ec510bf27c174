#include "api/router/router.h"

#include <doctest/doctest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <string>

using namespace hako;
using namespace hako::api;
using http::Method;
using http::Request;
using http::Response;
using http::Status;

namespace {

http::Handler says(std::string text) {
    return [text](Request& request) -> boost::asio::awaitable<Response> {
        co_return http::ok(text + " " + request.body);
    };
}

struct Api {
    Api() {
        router.get("vm.info", says("info"));
        router.put("vm.boot", Router::Body::kNone, says("boot"));
        router.put("vm.add-disk", Router::Body::kRequired, says("disk"));
        router.add(Method::kGet, "/metrics", Router::Body::kNone, says("metrics"));
        router.add(Method::kDelete, "/api/v1/vm.info", Router::Body::kNone, says("delete"));
    }
    Response ask(Method method, std::string path, std::string body = {}) const {
        Request request;
        request.method = method;
        request.path = std::move(path);
        request.body = std::move(body);
        boost::asio::io_context io;
        auto response = boost::asio::co_spawn(io, router.answer(request), boost::asio::use_future);
        io.run();
        return response.get();
    }
    Router router;
};

}  // namespace

TEST_CASE("a request goes to its handler") {
    const Api api;
    CHECK(api.ask(Method::kGet, "/api/v1/vm.info").body == "info ");
    CHECK(api.ask(Method::kGet, "/api/v1/vm.info", "passed over").status == Status::kOk);
    CHECK(api.ask(Method::kHead, "/api/v1/vm.info").body == "info ");
    CHECK(api.ask(Method::kPut, "/api/v1/vm.boot").body == "boot ");
    CHECK(api.ask(Method::kPut, "/api/v1/vm.add-disk", "{}").body == "disk {}");
    CHECK(api.ask(Method::kGet, "/metrics").body == "metrics ");
}

TEST_CASE("paths match exactly") {
    const Api api;
    for (const char* path : {"/", "", "/api/v1/", "/api/v1/vm.inf", "/api/v1/vm.info/", "/api/v1//vm.info",
                             "/vm.info", "/API/v1/vm.info"}) {
        CAPTURE(path);
        const Response response = api.ask(Method::kGet, path);
        CHECK(response.status == Status::kNotFound);
        CHECK(response.body == R"(["Not Found"])");
    }
}

TEST_CASE("another method is refused with those that are allowed") {
    const Api api;
    const Response response = api.ask(Method::kPost, "/api/v1/vm.info");
    CHECK(response.status == Status::kMethodNotAllowed);
    CHECK(response.allow == "GET, DELETE");
    CHECK(response.body == R"(["Method Not Allowed","/api/v1/vm.info takes GET, DELETE"])");
    CHECK(api.ask(Method::kGet, "/api/v1/vm.boot").allow == "PUT");
    CHECK(api.ask(Method::kHead, "/api/v1/vm.boot").status == Status::kMethodNotAllowed);
    CHECK(api.ask(Method::kOther, "/api/v1/vm.boot").status == Status::kMethodNotAllowed);
}

TEST_CASE("a body that is missing, or has no use, is refused") {
    const Api api;
    const Response missing = api.ask(Method::kPut, "/api/v1/vm.add-disk");
    CHECK(missing.status == Status::kBadRequest);
    CHECK(missing.body == R"(["Bad Request","/api/v1/vm.add-disk needs a JSON body"])");
    const Response useless = api.ask(Method::kPut, "/api/v1/vm.boot", "{}");
    CHECK(useless.status == Status::kBadRequest);
    CHECK(useless.body == R"(["Bad Request","/api/v1/vm.boot takes no body"])");
}
