#include "migration/memory/zero_page.h"

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace hako::migration {

bool is_zero_page_scalar(const std::byte* page) {
    constexpr std::size_t kWords = 8;
    for (std::size_t at = 0; at < kPageSize; at += kWords * sizeof(std::uint64_t)) {
        std::uint64_t words[kWords];
        std::memcpy(words, page + at, sizeof words);
        std::uint64_t any = 0;
        for (const std::uint64_t word : words)
            any |= word;
        if (any != 0) return false;
    }
    return true;
}

[[gnu::target("avx2")]] bool is_zero_page_avx2(const std::byte* page) {
    constexpr std::size_t kStep = 4 * sizeof(__m256i);
    for (std::size_t at = 0; at < kPageSize; at += kStep) {
        const auto* const lanes = reinterpret_cast<const __m256i*>(page + at);
        const __m256i any =
            _mm256_or_si256(_mm256_or_si256(_mm256_loadu_si256(lanes), _mm256_loadu_si256(lanes + 1)),
                            _mm256_or_si256(_mm256_loadu_si256(lanes + 2), _mm256_loadu_si256(lanes + 3)));
        if (_mm256_testz_si256(any, any) == 0) return false;
    }
    return true;
}

bool has_avx2() {
    static const bool has = __builtin_cpu_supports("avx2") != 0;
    return has;
}

bool is_zero_page(const std::byte* page) {
    return has_avx2() ? is_zero_page_avx2(page) : is_zero_page_scalar(page);
}

}  // namespace hako::migration
