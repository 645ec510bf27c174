// Fuzzes what a migration's source sends: each message's bytes, and a whole destination that is told
// anything.
//
// Input: a byte of flags (bit 0: begin with a HELLO that is taken, bit 1: only decode the rest, as every
// message, bit 2: that HELLO agrees upon postcopy), then what the source says: a byte (bit 0: on the data
// connections, bits 1 and 2: what follows), a byte of type, a byte of length. What follows is a frame with
// that payload and a good checksum (0), raw bytes (1), or so many whole pages (2).
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "migration/destination.h"
#include "tests/fuzz/require.h"
#include "tests/unit/migration/fake_machines.h"
#include "vmm/base/log.h"

using namespace hako;
using hako::fuzz::require;
using namespace hako::migration;
using namespace hako::migration::testing;

namespace {

template <typename... Messages>
void decode_as(std::span<const std::byte> bytes) {
    const auto one = [&]<typename Message>(std::optional<Message>) {
        const auto message = decode<Message>(bytes);
        if (message) require(std::ranges::equal(encode(*message), bytes), "another message than was sent");
    };
    (one(std::optional<Messages>()), ...);
}

Blob framed(Type type, std::span<const std::byte> payload) {
    const auto header = encode_header(type, 0, payload);
    Blob bytes(header.begin(), header.end());
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    return bytes;
}

/// What the source says, and the token it heard.
struct Script {
    Blob control;
    Blob data;
    bool has_go = false;
    std::mutex mutex;
    Token token{};
};

/// Gives a script's bytes, then the connection is lost. Hears the token.
class ScriptStream final : public Stream {
  public:
    ScriptStream(Script& script, Blob bytes) : script_(script), bytes_(std::move(bytes)) {}
    using Stream::receive;
    using Stream::send;
    Outcome<> send(std::span<iovec> parts, const Wait& /*wait*/) override {
        if (parts.size() == 2 && parts[0].iov_len == kHeaderBytes) {
            const std::span payload(static_cast<const std::byte*>(parts[1].iov_base), parts[1].iov_len);
            if (const auto accept = decode<Accept>(payload)) {
                const std::lock_guard lock(script_.mutex);
                script_.token = accept->token;
            }
        }
        for (const iovec& part : parts)
            handed_ += part.iov_len;
        return {};
    }
    Outcome<> receive(std::span<iovec> parts, const Wait& wait) override {
        if (wait.stop != nullptr) {
            if (auto reason = wait.stop->reason()) return std::unexpected(std::move(*reason));
        }
        for (const iovec& part : parts) {
            const std::size_t count = std::min(part.iov_len, bytes_.size() - at_);
            if (count > 0) std::memcpy(part.iov_base, bytes_.data() + at_, count);
            at_ += count;
            if (count < part.iov_len) return fail_as(Event::kLost, "the end");
        }
        return {};
    }
    [[nodiscard]] std::uint64_t handed() const override { return handed_; }
    void shut_down() override {}

  private:
    Script& script_;
    const Blob bytes_;
    std::size_t at_ = 0;
    std::uint64_t handed_ = 0;
};

class ScriptAcceptor final : public Acceptor {
  public:
    explicit ScriptAcceptor(Script& script) : script_(script) {}
    Outcome<std::unique_ptr<Stream>> accept(const Wait& /*wait*/) override {
        constexpr unsigned kMost = 6;
        if (count_++ == 0) return std::make_unique<ScriptStream>(script_, script_.control);
        if (count_ > kMost) return fail_as(Event::kLocal, "nobody comes any more");
        const std::lock_guard lock(script_.mutex);
        Blob bytes = framed(Type::kJoin, encode(Join{.token = script_.token, .index = next_++}));
        bytes.insert(bytes.end(), script_.data.begin(), script_.data.end());
        return std::make_unique<ScriptStream>(script_, std::move(bytes));
    }
    void close() override {}

  private:
    Script& script_;
    unsigned count_ = 0;
    std::uint16_t next_ = 0;
};

void append(Blob& to, std::span<const std::byte> bytes) {
    to.insert(to.end(), bytes.begin(), bytes.end());
}

void write_script(Script& script, std::span<const std::byte> input) {
    while (input.size() >= 3) {
        const auto kind = std::to_integer<unsigned>(input[0]);
        const auto type = static_cast<Type>(input[1]);
        const std::size_t length = std::to_integer<std::size_t>(input[2]);
        Blob& to = (kind & 1) != 0 ? script.data : script.control;
        const std::byte fill = input[1];
        input = input.subspan(3);
        if ((kind >> 1 & 3) == 2) {
            to.resize(to.size() + length % 4 * kPageSize, fill);
            continue;
        }
        const auto payload = input.first(std::min(length, input.size()));
        input = input.subspan(payload.size());
        append(to, (kind >> 1 & 3) == 1 ? Blob(payload.begin(), payload.end()) : framed(type, payload));
        script.has_go = script.has_go || type == Type::kGo || (kind >> 1 & 3) == 1;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    set_log_level(LogLevel::kError);
    if (size == 0) return 0;
    const unsigned flags = data[0];
    const auto input = std::as_bytes(std::span(data + 1, size - 1));
    if ((flags & 2) != 0) {
        decode_as<Hello, Accept, Refuse, FdName, Join, Joined, Ping, Pages, Round, RoundDone, Ready,
                  LocksReleased, Locked, Go, Running, Abort, PageRequest, Missing, Recover>(input);
        return 0;
    }
    Script script;
    if ((flags & 1) != 0) {
        const MemoryLayout layout{
            .regions = {{.address = 0, .bytes = 2 * kPageSize}, {.address = 4 * GiB, .bytes = kPageSize}}};
        append(script.control,
               framed(Type::kHello,
                      encode(Hello{
                          .uuid = kUuid, .epoch = kEpoch, .postcopy = (flags & 4) != 0, .layout = layout})));
    }
    write_script(script, input);

    World world;
    world.pause(World::Who::kSource);
    world.disown(World::Who::kSource);
    FakeDestination machine(world);
    ScriptAcceptor acceptor(script);
    std::unique_ptr<Destination> destination;
    // Nobody comes again.
    const auto give_up = [&](const Progress& progress) {
        if (progress.step == state_name(DestinationState::kRecoverable)) destination->cancel();
    };
    destination = Destination::create({}, acceptor, machine, give_up).value();
    const Status status = destination->run();
    require(world.broken().empty(), "who runs has no right to");
    require((status == Status::kFinished) == (world.runs() == World::Who::kDestination),
            "it runs and says it does not");
    require((status != Status::kFinished && status != Status::kGone) || script.has_go, "it runs without GO");
    require(status == Status::kFinished || status == Status::kGone || machine.discarded,
            "something is left of it");
    return 0;
}
