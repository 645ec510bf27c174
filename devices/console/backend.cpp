#include "devices/console/backend.h"

#include <unistd.h>

#include <utility>

#include "devices/console/file.h"
#include "devices/console/pty.h"
#include "devices/console/stdio.h"
#include "devices/console/tty.h"

namespace hako::console {
namespace {

class Off final : public Backend {
  public:
    bool put(std::uint8_t) override { return true; }
    void input_wanted() override {}
    void start(Port& port) override { port.writable(); }
    void stop() override {}
    void flush_now(std::chrono::milliseconds) override {}
    [[nodiscard]] const std::string& path() const override { return path_; }

  private:
    const std::string path_;
};

}  // namespace

Result<std::unique_ptr<Backend>> Backend::open(boost::asio::io_context& io, const Config& config,
                                               std::function<void()> on_quit) {
    switch (config.mode) {
        case Mode::kOff:
            return std::make_unique<Off>();
        case Mode::kTty:
            ignore_write_signals();
            return std::make_unique<Tty>(io, STDIN_FILENO, STDOUT_FILENO, std::move(on_quit));
        case Mode::kFile:
            ignore_write_signals();
            return File::open(io, config.path);
        case Mode::kPty:
            return Pty::open(io);
    }
    return fail_input("console: unknown mode");
}

}  // namespace hako::console
