#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/unit/api/server_fixture.h"

using namespace hako;
using namespace hako::test;

namespace {

constexpr std::string_view kEcho =
    "PUT /a/b?c=d HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Type: application/json\r\n"
    "Content-Length: 5\r\n\r\nhello";
std::string body_of(const std::string& response) {
    const std::size_t head = response.find("\r\n\r\n");
    return head == std::string::npos ? "no response" : response.substr(head + 4);
}

bool has_status(const std::string& response, std::string_view status) {
    return response.starts_with(std::string("HTTP/1.1 ").append(status).append("\r\n"));
}

/// Lets the client that asked for /wait have its answer, once it waits.
void go(Client& client) {
    while (!has_status(client.ask("GET /go HTTP/1.1\r\n\r\n"), "200 OK")) {
    }
}

/// A pipe whose reading end can tell that nobody holds the writing end any more.
struct Pipe {
    Pipe() {
        std::array<int, 2> ends{};
        REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
        read = Fd(ends[0]);
        write = Fd(ends[1]);
    }
    Fd read;
    Fd write;
};

}  // namespace

TEST_CASE("a request is answered in one piece, and the connection stays") {
    ServerFixture server;
    Client client(server.path());
    for (int turn = 0; turn < 3; ++turn) {
        const std::string response = client.ask(kEcho);
        CHECK(response ==
              "HTTP/1.1 200 OK\r\nServer: hako\r\nConnection: keep-alive\r\n"
              "Content-Type: application/json\r\nContent-Length: 24\r\n\r\nPUT /a/b?c=d fds=0 hello");
    }
    CHECK(client.ask("PUT /none HTTP/1.1\r\n\r\n") ==
          "HTTP/1.1 204 No Content\r\nServer: hako\r\nConnection: keep-alive\r\n\r\n");
    CHECK(client.ask("GET /empty HTTP/1.1\r\n\r\n") ==
          "HTTP/1.1 200 OK\r\nServer: hako\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n");
    CHECK(body_of(client.ask("GET /large HTTP/1.1\r\n\r\n")) == std::string(8 << 20, 'x'));
    CHECK(body_of(client.ask("GET http://localhost/abs?q HTTP/1.1\r\n\r\n")) == "GET /abs?q fds=0 ");
    const std::string last = client.ask("GET /last HTTP/1.1\r\nConnection: close\r\n\r\n");
    CHECK(last.find("Connection: close") != std::string::npos);
    CHECK(client.closed());
}

TEST_CASE("a request may come in two pieces cut anywhere, and byte by byte") {
    ServerFixture server;
    Client client(server.path());
    const std::string whole = client.ask(kEcho);
    REQUIRE(has_status(whole, "200 OK"));
    for (std::size_t cut = 1; cut < kEcho.size(); ++cut) {
        client.send(kEcho.substr(0, cut));
        CHECK(client.ask(kEcho.substr(cut)) == whole);
    }
    for (const char& byte : kEcho)
        client.send({&byte, 1});
    CHECK(client.response() == whole);
}

TEST_CASE("pipelined requests are answered in their order") {
    ServerFixture server;
    Client client(server.path());
    std::string all;
    for (int number = 0; number < 100; ++number)
        all += fmt::format("PUT /{} HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", number);
    client.send(all);
    for (int number = 0; number < 100; ++number)
        CHECK(body_of(client.response()) == fmt::format("PUT /{}? fds=0 x", number));
}

TEST_CASE("a client that sends no more still gets its answers; one that stops halfway is told") {
    ServerFixture server;
    Client client(server.path());
    client.send(kEcho);
    client.send(kEcho);
    client.finish_sending();
    CHECK(has_status(client.response(), "200 OK"));
    CHECK(has_status(client.response(), "200 OK"));
    CHECK(client.closed());

    Client half(server.path());
    half.send(kEcho.substr(0, kEcho.size() - 1));
    half.finish_sending();
    CHECK(has_status(half.response(), "400 Bad Request"));
    CHECK(half.closed());
}

TEST_CASE("descriptors belong to the request they came with, whichever part of it") {
    ServerFixture server;
    Client client(server.path());
    const Pipe one;
    const Pipe two;
    const std::array fds = {one.write.get(), two.write.get()};
    // As Cloud Hypervisor's own client sends: the descriptors before the headers are complete.
    client.send_with_fds("PUT /a HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n", fds);
    client.send("Content-Length: 2\r\n");
    client.send("\r\n");
    CHECK(body_of(client.ask("ab")) == "PUT /a? fds=2 ab");
    CHECK(body_of(client.ask(kEcho)) == "PUT /a/b?c=d fds=0 hello");
    client.send("PUT /b HTTP/1.1\r\nContent-Length: 2\r\n\r\n");
    client.send_with_fds("a", std::span(fds).first(1));
    client.send_with_fds("b", std::span(fds).last(1));
    CHECK(body_of(client.response()) == "PUT /b? fds=2 ab");

    // Two requests that wait in the socket together; the first has none.
    client.send("GET /wait HTTP/1.1\r\n\r\n");
    Client other(server.path());
    client.send("PUT /c HTTP/1.1\r\n\r\n");
    client.send_with_fds("PUT /d HTTP/1.1\r\n\r\n", fds);
    client.send("PUT /e HTTP/1.1\r\n\r\n");
    // /wait may not be under way yet; asking until it is needs no clock.
    go(other);
    CHECK(body_of(client.response()) == "GET /wait? fds=0 ");
    CHECK(body_of(client.response()) == "PUT /c? fds=0 ");
    CHECK(body_of(client.response()) == "PUT /d? fds=2 ");
    CHECK(body_of(client.response()) == "PUT /e? fds=0 ");
}

TEST_CASE("descriptors that nobody takes are closed; those that are taken stay, as many as a message has") {
    ServerFixture server;
    Client client(server.path());
    Pipe dropped;
    Pipe kept;
    const std::array drop = {dropped.write.get()};
    std::vector<int> keep(253, kept.write.get());
    client.send_with_fds("PUT /a HTTP/1.1\r\n\r\n", drop);
    CHECK(body_of(client.response()) == "PUT /a? fds=1 ");
    client.send_with_fds("PUT /hold HTTP/1.1\r\n\r\n", keep);
    CHECK(body_of(client.response()) == "PUT /hold? fds=253 ");
    client.ask("GET / HTTP/1.1\r\n\r\n");  // the request before is gone by now
    dropped.write.reset();
    char byte = 0;
    CHECK(::read(dropped.read.get(), &byte, 1) == 0);
    kept.write.reset();
    REQUIRE(::fcntl(kept.read.get(), F_SETFL, O_NONBLOCK) == 0);
    CHECK(::read(kept.read.get(), &byte, 1) == -1);
    CHECK(server.held_fds() == 253);

    Pipe many;
    keep.assign(253, many.write.get());
    client.send_with_fds("PUT /hold HTTP/1.1\r\n", keep);
    client.send_with_fds("A: b\r\n", std::span(keep).first(1));
    CHECK(has_status(client.response(), "400 Bad Request"));
    CHECK(client.closed());
    many.write.reset();
    CHECK(::read(many.read.get(), &byte, 1) == 0);
}

TEST_CASE("two hundred clients at once, each in turn, while one waits") {
    ServerFixture server;
    Client slow(server.path());
    slow.send("GET /wait HTTP/1.1\r\n\r\n");
    std::vector<std::unique_ptr<Client>> clients;
    for (int number = 0; number < 200; ++number)
        clients.push_back(std::make_unique<Client>(server.path()));
    for (int turn = 0; turn < 2; ++turn) {
        for (auto& client : clients)
            client->send(kEcho);
        for (auto& client : clients)
            CHECK(has_status(client->response(), "200 OK"));
    }
    go(*clients.front());
    CHECK(body_of(slow.response()) == "GET /wait? fds=0 ");
}

TEST_CASE("one client too many is told so, and there is room again when another goes") {
    api::http::ServerLimits limits;
    limits.connections = 4;
    ServerFixture server(limits);
    std::vector<std::unique_ptr<Client>> clients;
    for (int number = 0; number < 4; ++number) {
        clients.push_back(std::make_unique<Client>(server.path()));
        CHECK(has_status(clients.back()->ask(kEcho), "200 OK"));
    }
    Client extra(server.path());
    CHECK(has_status(extra.response(), "503 Service Unavailable"));
    CHECK(extra.closed());
    clients.back()->ask("GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    CHECK(clients.back()->closed());
    // The server notices its own close before it takes the next client, or just after.
    std::string answer;
    for (int turn = 0; turn < 1000 && !has_status(answer, "200 OK"); ++turn)
        answer = Client(server.path()).ask(kEcho);
    CHECK(has_status(answer, "200 OK"));
}

TEST_CASE("a body that is too large is refused before it has come") {
    ServerFixture server;
    const std::string body(5 << 20, 'x');
    Client client(server.path());
    client.send(fmt::format("PUT / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.size()));
    CHECK(client.send(body));
    const std::string response = client.response();
    CHECK(has_status(response, "413 Content Too Large"));
    CHECK(response.find("Connection: close") != std::string::npos);
    CHECK(client.closed());

    Client fitting(server.path());
    fitting.send("PUT / HTTP/1.1\r\nContent-Length: 4194304\r\n\r\n");
    fitting.send(std::string_view(body).substr(0, 4 << 20));
    CHECK(body_of(fitting.response()).size() == (4U << 20U) + 13);
}

TEST_CASE("what is no request is refused, and the connection ends") {
    const std::string long_header = "GET / HTTP/1.1\r\nA: " + std::string(20'000, 'a') + "\r\n\r\n";
    std::string many_headers = "GET / HTTP/1.1\r\n";
    for (int number = 0; number < 5000; ++number)
        many_headers += "A: b\r\n";
    const std::array cases = {
        std::pair{std::string("nonsense\r\n\r\n"), "400 Bad Request"},
        std::pair{std::string("\0\0\0\0", 4), "400 Bad Request"},
        std::pair{std::string("GET / HTTP/2.0\r\n\r\n"), "505 HTTP Version Not Supported"},
        std::pair{std::string("PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), "400 Bad Request"},
        std::pair{std::string("PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
                  "400 Bad Request"},
        std::pair{std::string("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                  "411 Length Required"},
        std::pair{long_header, "431 Request Header Fields Too Large"},
        std::pair{many_headers, "431 Request Header Fields Too Large"},
    };
    ServerFixture server;
    for (const auto& [text, status] : cases) {
        CAPTURE(text.substr(0, 80));
        Client client(server.path());
        client.send(text);
        CHECK(has_status(client.response(), status));
        CHECK(client.closed());
    }
    CHECK(has_status(Client(server.path()).ask(kEcho), "200 OK"));
}

TEST_CASE("a client may ask whether to send the body") {
    ServerFixture server;
    Client client(server.path());
    for (int turn = 0; turn < 2; ++turn) {
        CHECK(client.ask("PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n") ==
              "HTTP/1.1 100 Continue\r\n\r\n");
        CHECK(body_of(client.ask("abc")) == "PUT /? fds=0 abc");
    }
    // One that does not wait is answered once.
    CHECK(body_of(client.ask("PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")) ==
          "PUT /? fds=0 abc");
    CHECK(has_status(client.ask("PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n"),
                     "413 Content Too Large"));
}

TEST_CASE("a client that is too slow is told so; one that rests between requests is left alone") {
    api::http::ServerLimits limits;
    limits.first_byte = std::chrono::milliseconds(30);
    limits.whole_request = std::chrono::milliseconds(60);
    limits.response = std::chrono::milliseconds(60);
    limits.farewell = std::chrono::milliseconds(60);
    ServerFixture server(limits);
    Client resting(server.path());
    CHECK(has_status(resting.ask(kEcho), "200 OK"));

    Client silent(server.path());
    CHECK(silent.closed());
    Client slow(server.path());
    slow.send("PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\na");
    CHECK(has_status(slow.response(), "408 Request Timeout"));
    CHECK(slow.closed());
    Client deaf(server.path());  // does not read what it asked for
    deaf.send("GET /large HTTP/1.1\r\n\r\n");
    Client endless(server.path());  // is refused, and sends on
    endless.send("nonsense\r\n\r\n");
    while (endless.send("more")) {
    }
    while (body_of(resting.ask("GET /count HTTP/1.1\r\n\r\n")) != "1") {
    }
}

TEST_CASE("what a handler throws is answered; HEAD has no body") {
    ServerFixture server;
    Client client(server.path());
    const std::string response = client.ask("GET /throw HTTP/1.1\r\n\r\n");
    CHECK(has_status(response, "500 Internal Server Error"));
    CHECK(body_of(response) == R"(["Internal Server Error","the reason"])");
    client.send("HEAD /x HTTP/1.1\r\n\r\n");
    client.send("GET /y HTTP/1.1\r\nConnection: close\r\n\r\n");
    client.finish_sending();
    std::string both;
    for (std::string piece = client.response(); !piece.empty(); piece = client.response())
        both += piece;
    CHECK(both.find("HEAD /x") == std::string::npos);
    CHECK(both.find("Content-Length: 15") != std::string::npos);
    CHECK(both.ends_with("GET /y? fds=0 "));
}

TEST_CASE("the server ends with clients in every state, by itself or from a handler") {
    {
        ServerFixture server;
        Client idle(server.path());
        CHECK(has_status(idle.ask(kEcho), "200 OK"));
        Client halfway(server.path());
        halfway.send("PUT / HTTP/1.1\r\n");
        Client waiting(server.path());
        waiting.send("GET /wait HTTP/1.1\r\n\r\n");
        idle.ask(kEcho);
        server.close();
        CHECK(idle.closed());
        CHECK(halfway.closed());
        CHECK(waiting.closed());
        CHECK_FALSE(std::filesystem::exists(server.path()));
        CHECK_FALSE(std::filesystem::exists(server.path() + ".lock"));
    }
    ServerFixture server;
    Client client(server.path());
    CHECK(body_of(client.ask("PUT /end HTTP/1.1\r\n\r\n")) == "PUT /end? fds=0 ");
    CHECK(client.closed());
}
