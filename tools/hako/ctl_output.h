// What people get to see of an answer.
#pragma once

#include <string>
#include <string_view>

namespace hako {

/// The answer of `hako ctl VERB`, a JSON text, as lines for a terminal. What is not known to it comes out as
/// it is.
[[nodiscard]] std::string ctl_text(std::string_view verb, std::string_view json);

/// One line of the stream of events.
[[nodiscard]] std::string ctl_event_text(std::string_view json);

}  // namespace hako
