#include "vmm/machine/consoles.h"

#include <algorithm>

namespace hako {
namespace {

bool on_terminal(const std::unique_ptr<console::Backend>& backend) {
    return backend && backend->config().mode == console::Mode::kTty;
}

}  // namespace

Result<std::unique_ptr<console::Backend>> Consoles::open_one(const console::Config& config) {
    if (config.mode == console::Mode::kTty) {
        const bool taken = on_terminal(serial_) || std::ranges::any_of(sets_, [](const Set& set) {
                               return std::ranges::any_of(set.backends, on_terminal);
                           });
        if (taken) return fail_conflict("the terminal is taken by another console: choose another place");
    }
    return console::Backend::open(io_, engine_, config, on_quit_);
}

Result<> Consoles::open_serial(const console::Config& config) {
    serial_ = HAKO_TRY(open_one(config));
    if (config.mode == console::Mode::kOff) return {};
    serial_link_ = HAKO_TRY(console::SerialLink::create(engine_, *serial_));
    return {};
}

Result<std::vector<console::Backend*>> Consoles::open(const virtio::console::Config& config) {
    if (find(config.id) == nullptr) {
        // In the list from the first on, so that two ports do not take one terminal.
        sets_.push_back({.id = config.id, .backends = {}});
        const auto add = [&](const console::Config& host) -> Result<> {
            auto backend = HAKO_TRY(open_one(host));
            sets_.back().backends.push_back(std::move(backend));
            return {};
        };
        Result<> opened;
        if (config.console.mode == console::Mode::kOff) {
            sets_.back().backends.push_back(nullptr);
        } else {
            opened = add(config.console);
        }
        for (const virtio::console::PortConfig& port : config.ports) {
            if (!opened) break;
            opened = add(port.host);
            if (!opened) opened = std::unexpected(std::move(opened).error().wrap("port " + port.name));
        }
        if (!opened) {
            sets_.pop_back();
            return std::unexpected(std::move(opened).error());
        }
    }
    std::vector<console::Backend*> backends;
    for (const auto& backend : find(config.id)->backends)
        backends.push_back(backend.get());
    return backends;
}

void Consoles::close(std::string_view id) {
    std::erase_if(sets_, [&](const Set& set) { return set.id == id; });
}

Consoles::Set* Consoles::find(std::string_view id) {
    const auto found = std::ranges::find(sets_, id, &Set::id);
    return found == sets_.end() ? nullptr : &*found;
}

std::string Consoles::path(std::string_view id) const {
    const auto found = std::ranges::find(sets_, id, &Set::id);
    if (found == sets_.end() || found->backends.empty() || !found->backends[0]) return {};
    return found->backends[0]->path();
}

}  // namespace hako
