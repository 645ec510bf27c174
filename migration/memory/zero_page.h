// Is a page all zeros? Most of a fresh guest's memory is.
#pragma once

#include <cstddef>
#include <span>

#include "vmm/base/units.h"

namespace hako::migration {

/// `page` is kPageSize bytes, aligned to 64. The guest may write it meanwhile: the answer is of some moment,
/// and the dirty log brings the page again.
[[nodiscard]] bool is_zero_page(const std::byte* page);

// The ways to find out, of which is_zero_page() takes the best that this CPU has.
[[nodiscard]] bool is_zero_page_scalar(const std::byte* page);
[[nodiscard]] bool is_zero_page_avx2(const std::byte* page);
[[nodiscard]] bool has_avx2();

}  // namespace hako::migration
