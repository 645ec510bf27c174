#include "vmm/base/result.h"

#include <cstring>

namespace hako {

std::string Error::text() const {
    std::string line;
    for (const std::string& cause : chain_) {
        if (!line.empty()) line += ": ";
        line += cause;
    }
    return line;
}

std::string errno_text(int error) {
    const char* name = strerrorname_np(error);
    const char* text = strerrordesc_np(error);
    if (name == nullptr || text == nullptr) return fmt::format("error {}", error);
    return fmt::format("{} ({})", text, name);
}

}  // namespace hako
