// Addresses, sockets, TLS.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "migration/transport/address.h"
#include "migration/transport/channel.h"
#include "migration/transport/dialer.h"
#include "migration/transport/listener.h"
#include "migration/transport/socket_stream.h"
#include "migration/transport/tls_process.h"
#include "tests/unit/boot/temp_dir.h"
#include "tests/unit/migration/certificates.h"

using namespace hako;
using namespace hako::migration;

namespace {

constexpr Wait kPatient{.silence = milliseconds(60'000)};

struct Ends {
    std::unique_ptr<Stream> near;
    std::unique_ptr<Stream> far;
    std::optional<Failure> near_failure;
    std::optional<Failure> far_failure;
};

/// Connects; a TLS handshake needs both at work.
Ends connect(Listener& listener, Dialer& dialer) {
    Ends ends;
    std::thread accepts([&] {
        auto far = listener.accept(kPatient);
        if (far)
            ends.far = *std::move(far);
        else
            ends.far_failure = far.error();
    });
    auto near = dialer.connect(kPatient);
    if (near)
        ends.near = *std::move(near);
    else
        ends.near_failure = near.error();
    accepts.join();
    return ends;
}

void check_talk(const Ends& ends) {
    REQUIRE(ends.near);
    REQUIRE(ends.far);
    const Blob large(3 * MiB, std::byte{0x5a});
    std::thread sends([&] {
        CHECK(send_frame(*ends.near, Type::kState, large, kPatient));
        CHECK(receive_message<Joined>(*ends.near, kPatient));
    });
    const auto frame = receive_frame(*ends.far, kPatient);
    REQUIRE(frame);
    CHECK(frame->payload == large);
    CHECK(send_message(*ends.far, Joined{}, kPatient));
    sends.join();
    CHECK(ends.near->handed() >= large.size());
    ends.near->shut_down();
    const auto end = receive_frame(*ends.far, kPatient);
    REQUIRE_FALSE(end);
    CHECK(end.error().event == Event::kLost);
}

}  // namespace

TEST_CASE("migration address: unix paths, hosts, IPv4, IPv6 in brackets") {
    CHECK(parse_address("unix:/run/a.sock").value() == Address(UnixAddress{.path = "/run/a.sock"}));
    CHECK(parse_address("tcp:node2:6000").value() == Address(TcpAddress{.host = "node2", .port = "6000"}));
    CHECK(parse_address("tcp:10.0.0.1:0").value() == Address(TcpAddress{.host = "10.0.0.1", .port = "0"}));
    CHECK(parse_address("tcp:[fe80::1%eth0]:6000").value() ==
          Address(TcpAddress{.host = "fe80::1%eth0", .port = "6000"}));
    for (const char* const url : {"unix:/run/a.sock", "tcp:node2:6000", "tcp:[::1]:6000"})
        CHECK(address_text(parse_address(url).value()) == url);
    for (const char* const url :
         {"", "unix:", "tcp:", "tcp:host", "tcp::1", "tcp:host:", "tcp:host:65536", "tcp:host:x",
          "tcp:host:+1", "tcp:::1:6000", "tcp:[]:1", "udp:host:1", "/run/a.sock"}) {
        CAPTURE(url);
        CHECK_FALSE(parse_address(url));
    }
    CHECK_FALSE(parse_address(fmt::format("unix:{}", std::string(200, 'x'))));
}

TEST_CASE("migration transport: over a unix socket, whose file goes with the listener") {
    const hako::testing::TempDir dir;
    const Address address = UnixAddress{.path = (dir.path() / "m.sock").string()};
    for (int turn = 0; turn < 2; ++turn) {
        auto listener = Listener::open(address).value();
        CHECK_FALSE(Listener::open(address));
        auto dialer = Dialer::create(address).value();
        check_talk(connect(*listener, *dialer));
        listener->close();
        CHECK_FALSE(std::filesystem::exists(dir.path() / "m.sock"));
        const auto nobody = dialer->connect(kPatient);
        REQUIRE_FALSE(nobody);
        CHECK(nobody.error().event == Event::kLost);
    }
}

TEST_CASE("migration transport: over TCP, whose port is free again at once") {
    for (const char* const host : {"127.0.0.1", "::1", "localhost"}) {
        CAPTURE(host);
        auto first = Listener::open(TcpAddress{.host = host, .port = "0"});
        if (!first && std::string_view(host) == "::1") continue;  // a host without IPv6
        REQUIRE(first);
        const std::string port = std::to_string((*first)->port());
        for (int turn = 0; turn < 2; ++turn) {
            auto listener = turn == 0 ? *std::move(first)
                                      : Listener::open(TcpAddress{.host = host, .port = port}).value();
            auto dialer = Dialer::create(TcpAddress{.host = host, .port = port}).value();
            const Ends ends = connect(*listener, *dialer);
            check_talk(ends);
        }
    }
}

TEST_CASE("migration transport: what is read ahead is not lost, whatever is asked for next") {
    std::array<int, 2> ends{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
    SocketStream near{Fd(ends[0])};
    SocketStream far{Fd(ends[1])};
    // More than is read ahead, twice as many parts as one system call takes, and sizes in between.
    const std::array<std::size_t, 7> sizes = {16, 21, 4096, 1, 40'000, 7, 9000};
    const std::array<std::size_t, 7> counts = {1, 1, 3, 600, 1, 300, 2};
    Blob sent(200'000);
    for (std::size_t at = 0; at < sent.size(); ++at)
        sent[at] = static_cast<std::byte>(at * 31 + at / 251);
    std::thread sends([&] {
        CHECK(near.send(sent, kPatient));
        near.shut_down();
    });
    Blob came(sent.size());
    std::size_t at = 0;
    for (std::size_t turn = 0; turn < sizes.size(); ++turn) {
        std::vector<iovec> parts;
        for (std::size_t part = 0; part < counts[turn]; ++part) {
            parts.push_back({.iov_base = came.data() + at, .iov_len = sizes[turn]});
            at += sizes[turn];
        }
        CHECK(far.receive(parts, kPatient));
    }
    CHECK(far.receive(std::span(came).subspan(at), kPatient));
    CHECK(came == sent);
    std::array<std::byte, 1> more{};
    CHECK_FALSE(far.receive(more, kPatient));
    sends.join();
}

TEST_CASE("migration transport: who stops ends a wait; who is silent is not waited for") {
    auto listener = Listener::open(TcpAddress{.host = "127.0.0.1", .port = "0"}).value();
    auto dialer =
        Dialer::create(TcpAddress{.host = "127.0.0.1", .port = std::to_string(listener->port())}).value();
    const Ends ends = connect(*listener, *dialer);
    const auto silent = receive_frame(*ends.near, {.silence = milliseconds(1)});
    REQUIRE_FALSE(silent);
    CHECK(silent.error().event == Event::kTimeout);
    // Nobody reads: the socket's buffer is full some time.
    const auto full = ends.near->send(Blob(64 * MiB), {.silence = milliseconds(1)});
    REQUIRE_FALSE(full);
    CHECK(full.error().event == Event::kTimeout);

    const auto stop = Stop::create().value();
    const Wait stoppable{.silence = milliseconds(60'000), .stop = stop.get()};
    std::thread raises([&] { stop->raise({Event::kCancelled, Error(Fault::kState, "enough")}); });
    const auto stopped = listener->accept(stoppable);
    raises.join();
    REQUIRE_FALSE(stopped);
    CHECK(stopped.error().event == Event::kCancelled);
    CHECK(stopped.error().error.text() == "enough");
    CHECK_FALSE(stop->raise({Event::kTimeout, Error(Fault::kState, "late")}));
    CHECK_FALSE(stop->seal());
    CHECK(receive_frame(*ends.near, stoppable).error().event == Event::kCancelled);
}

TEST_CASE("migration transport: descriptors come with the frame they were sent with, and not in heaps") {
    const hako::testing::TempDir dir;
    const Address address = UnixAddress{.path = (dir.path() / "m.sock").string()};
    auto listener = Listener::open(address).value();
    auto dialer = Dialer::create(address).value();
    const Ends ends = connect(*listener, *dialer);
    const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    CHECK(ends.near->send_fd(Blob(10), null.get(), kPatient));
    Blob data(10);
    CHECK(ends.far->receive(std::span<std::byte>(data), kPatient));
    const auto fd = ends.far->take_fd();
    REQUIRE(fd);
    struct ::stat status{};
    REQUIRE(::fstat(fd->get(), &status) == 0);
    CHECK(S_ISCHR(status.st_mode));
    CHECK((::fcntl(fd->get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK_FALSE(ends.far->take_fd());
    for (int count = 0; count < 5; ++count)
        CHECK(ends.near->send_fd(Blob(1), null.get(), kPatient));
    Blob more(5);
    const auto heap = ends.far->receive(std::span<std::byte>(more), kPatient);
    REQUIRE_FALSE(heap);
    CHECK(heap.error().event == Event::kGarbage);
}

namespace {

std::unique_ptr<TlsContext> server(bool own_process, const std::string& directory) {
    if (own_process) return TlsProcess::server(HAKO_TLS_PROGRAM, directory).value();
    return TlsContext::server(directory).value();
}

std::unique_ptr<TlsContext> client(bool own_process, const std::string& directory, const std::string& host) {
    if (own_process) return TlsProcess::client(HAKO_TLS_PROGRAM, directory, host).value();
    return TlsContext::client(directory, host).value();
}

}  // namespace

TEST_CASE("migration TLS: both sides show a certificate of the same CA, in this process or another") {
    const hako::testing::TempDir dir;
    const std::string files = dir.path().string();
    migration::testing::write_certificates(dir.path(), "127.0.0.1");
    for (const bool own_process : {false, true}) {
        CAPTURE(own_process);
        auto listener =
            Listener::open(TcpAddress{.host = "127.0.0.1", .port = "0"}, server(own_process, files)).value();
        const TcpAddress address{.host = "127.0.0.1", .port = std::to_string(listener->port())};
        auto dialer = Dialer::create(address, client(own_process, files, address.host)).value();
        check_talk(connect(*listener, *dialer));

        // A client of another CA.
        const hako::testing::TempDir other;
        migration::testing::write_certificates(other.path(), "127.0.0.1");
        std::filesystem::copy_file(dir.path() / "ca-cert.pem", other.path() / "ca-cert.pem",
                                   std::filesystem::copy_options::overwrite_existing);
        auto stranger =
            Dialer::create(address, client(own_process, other.path().string(), address.host)).value();
        const Ends refused = connect(*listener, *stranger);
        REQUIRE(refused.far_failure);
        CHECK(refused.far_failure->event == Event::kRefused);

        // A server for another host.
        auto elsewhere = Dialer::create(address, client(own_process, files, "192.0.2.1")).value();
        const Ends wrong = connect(*listener, *elsewhere);
        REQUIRE(wrong.near_failure);
        CHECK(wrong.near_failure->event == Event::kRefused);
        CHECK(wrong.near_failure->error.text().contains("IP address mismatch"));

        // A client without TLS.
        auto plain = Dialer::create(address).value();
        std::unique_ptr<Stream> near;
        std::thread connects([&] {
            near = plain->connect(kPatient).value();
            (void)send_message(*near, Hello{}, kPatient);
        });
        CHECK_FALSE(listener->accept(kPatient));
        connects.join();
    }
}

TEST_CASE("migration TLS: files that are missing are named") {
    const hako::testing::TempDir dir;
    const std::string files = dir.path().string();
    migration::testing::write_certificates(dir.path(), "127.0.0.1");
    std::filesystem::remove(dir.path() / "server-key.pem");
    CHECK(TlsContext::server(files).error().text().contains("server-key.pem"));
    CHECK(TlsProcess::server(HAKO_TLS_PROGRAM, files).error().text().contains("server-key.pem"));
    CHECK(TlsProcess::client("/nowhere/hako-tls", files, "a").error().text().contains("/nowhere/hako-tls"));
}

TEST_CASE("migration TLS: is for TCP only") {
    const hako::testing::TempDir dir;
    migration::testing::write_certificates(dir.path(), "127.0.0.1");
    const UnixAddress address{.path = (dir.path() / "m.sock").string()};
    CHECK_FALSE(Listener::open(address, TlsContext::server(dir.path().string()).value()));
    CHECK_FALSE(Dialer::create(address, TlsContext::client(dir.path().string(), "a").value()));
}
