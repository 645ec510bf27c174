// Loading made-up kernels, and what to expect of a refusal.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "images.h"
#include "temp_dir.h"
#include "vmm/boot/loader.h"

namespace hako::testing {

/// A payload's files in a directory of their own, and guest memory to load them into.
class Loading {
  public:
    explicit Loading(std::uint64_t memory_size = 64 * MiB)
        : memory_(GuestMemory::create({.size = memory_size, .thp = false}).value()) {}

    Loading& kernel(const Bytes& image) {
        payload_.kernel = directory_.file("kernel", image);
        return *this;
    }
    Loading& initrd(std::size_t size) {
        payload_.initrd = directory_.file("initrd", Bytes(size, std::byte{0x5a}));
        return *this;
    }
    Loading& command_line(std::string text) {
        payload_.command_line = std::move(text);
        return *this;
    }

    Result<boot::BootState> load() { return boot::load(memory_, payload_); }
    GuestMemory& memory() { return memory_; }
    PayloadConfig& payload() { return payload_; }
    TempDir& directory() { return directory_; }

  private:
    TempDir directory_;
    GuestMemory memory_;
    PayloadConfig payload_;
};

/// The user's error, in one line that has `part` in it.
inline void check_refused(const Result<boot::BootState>& result, std::string_view part) {
    REQUIRE_FALSE(result);
    const std::string text = result.error().text();
    CAPTURE(text);
    CHECK(result.error().fault() == Fault::kInput);
    CHECK(text.find(part) != std::string::npos);
    CHECK(text.find('\n') == std::string::npos);
}

}  // namespace hako::testing
