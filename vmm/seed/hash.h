// FNV-1a, 64 bits: names content, guards nothing against an adversary.
#pragma once

#include <cstdint>
#include <string_view>

namespace hako::seed {

/// Fowler, Noll, Vo: offset basis and prime of the 64-bit variant. Chain calls through `hash`.
constexpr std::uint64_t fnv1a(std::string_view bytes, std::uint64_t hash = 0xcbf29ce484222325) {
    for (const char c : bytes) {
        hash ^= static_cast<unsigned char>(c);
        hash *= 0x100000001b3;
    }
    return hash;
}

}  // namespace hako::seed
