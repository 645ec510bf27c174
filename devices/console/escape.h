// The escape on the terminal: Ctrl-A x quits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace hako::console {

/// Ctrl-A x quits, Ctrl-A Ctrl-A and Ctrl-A a send one Ctrl-A, Ctrl-A and any other key send both.
class Escape {
  public:
    /// Appends what is meant for the guest to `to_guest`. True if the user quits; what follows is not looked
    /// at.
    bool filter(std::span<const std::uint8_t> typed, std::vector<std::uint8_t>& to_guest) {
        for (const std::uint8_t key : typed) {
            if (!escaped_) {
                escaped_ = key == kCtrlA;
                if (!escaped_) to_guest.push_back(key);
                continue;
            }
            escaped_ = false;
            if (key == 'x') return true;
            to_guest.push_back(kCtrlA);
            if (key != kCtrlA && key != 'a') to_guest.push_back(key);
        }
        return false;
    }

  private:
    static constexpr std::uint8_t kCtrlA = 0x01;
    bool escaped_ = false;
};

}  // namespace hako::console
