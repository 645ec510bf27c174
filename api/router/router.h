// Which handler answers which request.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "api/http/message.h"
#include "api/http/server.h"

namespace hako::api {

/// A table of paths. Paths match exactly, as Cloud Hypervisor's do; a query is left to the handler.
///
/// Unknown path: 404. Known path, other method: 405 with `Allow`. HEAD goes where GET does. A PUT without the
/// body it needs, or with one that it has no use for: 400.
class Router {
  public:
    enum class Body { kNone, kRequired };

    /// Before what comes after it in `path`: "/api/v1/vm.info".
    static constexpr std::string_view kBase = "/api/v1/";

    /// GET `kBase` + `name`; a body is passed over.
    void get(std::string_view name, http::Handler handler);
    /// PUT `kBase` + `name`.
    void put(std::string_view name, Body body, http::Handler handler);
    /// Any method and absolute path. Replaces what was there.
    void add(http::Method method, std::string path, Body body, http::Handler handler);

    /// Something is served there, by some method.
    [[nodiscard]] bool knows(std::string_view path) const { return paths_.contains(path); }
    /// The router outlives the answer, and gets no new routes while it serves.
    [[nodiscard]] boost::asio::awaitable<http::Response> answer(http::Request& request) const;

  private:
    struct Route {
        Body body;
        http::Handler handler;
    };
    using Methods = std::map<http::Method, Route>;

    std::map<std::string, Methods, std::less<>> paths_;
};

}  // namespace hako::api
