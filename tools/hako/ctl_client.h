// A client of the REST API that waits for its answer.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "tools/hako/ctl_request.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako {

class CtlClient {
  public:
    struct Reply {
        unsigned status = 0;
        std::string reason;
        std::string body;  ///< empty for a stream
    };

    static Result<CtlClient> connect(const std::string& path);

    /// `on_piece` gets what a stream brings, as it comes; false: that is enough.
    Result<Reply> call(const cli::CtlRequest& request, const std::function<bool(std::string_view)>& on_piece);

  private:
    explicit CtlClient(Fd socket) : socket_(std::move(socket)) {}

    Result<> send(const cli::CtlRequest& request);
    /// Adds what comes to `input_`.
    Result<> receive();
    /// Up to and without "\r\n", which is used up.
    Result<std::string> read_line();
    Result<std::string> read_bytes(std::size_t count);

    Fd socket_;
    std::string input_;
};

}  // namespace hako
