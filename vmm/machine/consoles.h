// The host ends of a VM's consoles, over all lives of its machine.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "devices/console/backend.h"
#include "devices/console/serial_link.h"
#include "virtio/console/config.h"
#include "vmm/base/result.h"
#include "vmm/io/engine.h"

namespace hako {

/// Who is attached to a console stays so over a reboot. Control thread.
class Consoles {
  public:
    /// `on_quit`: Ctrl-A x was typed. The io_context and the engine outlive the consoles, and these the
    /// machine.
    Consoles(boost::asio::io_context& io, io::Engine& engine, std::function<void()> on_quit)
        : io_(io), engine_(engine), on_quit_(std::move(on_quit)) {}

    /// Opens the serial port's host end. Once.
    Result<> open_serial(const console::Config& config);
    /// Null when there is no serial port.
    [[nodiscard]] console::SerialLink* serial() { return serial_link_.get(); }
    [[nodiscard]] const std::string& serial_path() const { return serial_->path(); }

    /// The host ends of port 0 and of each named port, null where there is none; those that are open from an
    /// earlier life as they are. What the user can mend is a Fault::kInput or a Fault::kConflict.
    Result<std::vector<console::Backend*>> open(const virtio::console::Config& config);
    /// Of a device that is gone.
    void close(std::string_view id);
    /// Where port 0 of a virtio console goes, or "".
    [[nodiscard]] std::string path(std::string_view id) const;

  private:
    struct Set {
        std::string id;
        std::vector<std::unique_ptr<console::Backend>> backends;  ///< one for each port
    };

    Result<std::unique_ptr<console::Backend>> open_one(const console::Config& config);
    [[nodiscard]] Set* find(std::string_view id);

    boost::asio::io_context& io_;
    io::Engine& engine_;
    const std::function<void()> on_quit_;
    std::unique_ptr<console::Backend> serial_;
    std::unique_ptr<console::SerialLink> serial_link_;
    std::vector<Set> sets_;
};

}  // namespace hako
