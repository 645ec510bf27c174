// Console output appended to a file.
#pragma once

#include <memory>
#include <string>

#include "devices/console/backend.h"
#include "devices/console/output.h"

namespace hako::console {

/// A regular file, created with mode 0600, or a device or named pipe that exists. There is no input.
class File final : public Backend {
  public:
    static Result<std::unique_ptr<Backend>> open(boost::asio::io_context& io, const std::string& path);
    ~File() override;

    bool put(std::uint8_t byte) override { return output_->put(byte); }
    void input_wanted() override {}

    void start(Port& port) override;
    void stop() override;
    void flush_now(std::chrono::milliseconds limit) override { output_->flush(limit); }
    [[nodiscard]] const std::string& path() const override { return path_; }

  private:
    File(std::string path, std::shared_ptr<Output> output)
        : path_(std::move(path)), output_(std::move(output)) {}

    const std::string path_;
    std::shared_ptr<Output> output_;
    Port* port_ = nullptr;
};

}  // namespace hako::console
