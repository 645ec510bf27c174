// Who is at the other end of a console: a terminal, whoever opens a pty, a socket's client.
#pragma once

#include <string>

#include "devices/console/inlet.h"
#include "devices/console/metrics.h"
#include "devices/console/outlet.h"
#include "devices/console/size.h"
#include "vmm/io/engine.h"

namespace hako::console {

/// What a peer works with; all of it outlives the peer.
struct PeerSetup {
    io::Engine& engine;
    io::BatchWork& work;  ///< the console's: it calls Peer::run()
    Outlet& outlet;
    Inlet& inlet;
    LiveMetrics& metrics;
};

/// Connects the outlet and the inlet to descriptors as people come and go.
class Peer {
  public:
    virtual ~Peer() = default;

    // On the control thread.

    /// A device is there: its input may be read from now on.
    virtual void start() {}
    /// No device is there any more.
    virtual void stop() {}
    /// The pty's or the socket's path, or "".
    [[nodiscard]] virtual const std::string& path() const = 0;

    // On the io thread.

    virtual void begin() = 0;
    /// Asks for the end of all that it has in the kernel.
    virtual void end() = 0;
    [[nodiscard]] virtual bool idle() const = 0;
    /// Looks at what has changed; once a wake-up.
    virtual void run() = 0;
    /// Whether anybody is there.
    [[nodiscard]] virtual bool present() const = 0;
    /// Of the terminal there, as it last told.
    [[nodiscard]] virtual Size size() const { return {}; }
};

}  // namespace hako::console
