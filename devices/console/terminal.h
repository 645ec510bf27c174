// Raw mode of the user's terminal, and giving it back on every way out.
#pragma once

namespace hako::console {

/// Whether this process may use the terminal `fd` now; a background job that reads from it is stopped.
bool in_foreground(int fd);

/// Puts the terminal `fd` in raw mode and remembers how it was; one terminal in a process. Also arranges for
/// restore_terminal() at exit() and on SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT, whose handlers before run
/// after it. False if `fd` is no terminal, this process is not in its foreground, or the terminal refuses.
bool enter_raw_mode(int fd);

/// Gives the terminal back as it was. Does nothing when it is not raw. Async-signal-safe; safe from any
/// thread.
void restore_terminal();

/// Opens /dev/null on each of fd 0, 1 and 2 that is closed, so that no file of ours gets a standard number.
/// First thing in main().
void claim_standard_fds();

}  // namespace hako::console
