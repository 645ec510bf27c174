// The program's own code in memory.
#pragma once

namespace hako {

/// Lets go of the pages of code that are mapped: what runs again comes back from the page cache as it is
/// needed, and what ran once, to start, does not. Any thread.
void let_go_of_code();

}  // namespace hako
