#include "migration/protocol/messages.h"

#include <algorithm>

namespace hako::migration {
namespace {

constexpr std::size_t kRegionBytes = 16;
constexpr std::uint32_t kZeroRun = 1;

template <std::size_t kSize>
std::array<std::byte, kSize> take_array(Reader& in) {
    std::array<std::byte, kSize> out{};
    std::ranges::copy(in.take(kSize), out.begin());
    return out;
}

bool take_bool(Reader& in) {
    const auto value = in.number<std::uint8_t>();
    if (value > 1) in.refuse();
    return value == 1;
}

void put(Writer& out, bool value) {
    out.number(std::uint8_t{value});
}

void put_causes(Writer& out, const std::vector<std::string>& causes) {
    const std::size_t count = std::min<std::size_t>(causes.size(), kMaxCauses);
    out.number(static_cast<std::uint32_t>(count));
    for (std::size_t index = 0; index < count; ++index)
        out.text(causes[index].substr(0, kMaxCause));
}

std::vector<std::string> take_causes(Reader& in) {
    std::vector<std::string> causes(in.count(kMaxCauses, 4));
    for (std::string& cause : causes)
        cause = in.text(kMaxCause);
    return causes;
}

void write(Writer& out, const Hello& hello) {
    out.number(hello.oldest);
    out.number(hello.newest);
    out.raw(hello.uuid);
    out.number(hello.epoch);
    out.number(hello.connections);
    out.number(hello.fds);
    put(out, hello.postcopy);
    out.number(static_cast<std::uint32_t>(hello.layout.regions.size()));
    for (const Region& region : hello.layout.regions) {
        out.number(region.address);
        out.number(region.bytes);
    }
    out.blob(hello.config);
    out.blob(hello.cpu);
}

void read(Reader& in, Hello& hello) {
    hello.oldest = in.number<std::uint16_t>();
    hello.newest = in.number<std::uint16_t>();
    hello.uuid = take_array<16>(in);
    hello.epoch = in.number<std::uint64_t>();
    hello.connections = in.number<std::uint16_t>();
    hello.fds = in.number<std::uint16_t>();
    hello.postcopy = take_bool(in);
    hello.layout.regions.resize(in.count(kMaxRegions, kRegionBytes));
    for (Region& region : hello.layout.regions) {
        region.address = in.number<std::uint64_t>();
        region.bytes = in.number<std::uint64_t>();
    }
    hello.config = in.copy(kMaxConfig);
    hello.cpu = in.copy(kMaxCpu);
    if (hello.connections < 1 || hello.connections > kMaxConnections || hello.fds > kMaxFds) in.refuse();
}

void write(Writer& out, const Accept& accept) {
    out.number(accept.version);
    out.raw(accept.token);
    out.number(accept.restore_cost_ns);
}
void read(Reader& in, Accept& accept) {
    accept.version = in.number<std::uint16_t>();
    accept.token = take_array<16>(in);
    accept.restore_cost_ns = in.number<std::uint64_t>();
}

void write(Writer& out, const Refuse& refuse) {
    put_causes(out, refuse.causes);
}
void read(Reader& in, Refuse& refuse) {
    refuse.causes = take_causes(in);
}

void write(Writer& out, const Abort& abort) {
    put_causes(out, abort.causes);
}
void read(Reader& in, Abort& abort) {
    abort.causes = take_causes(in);
}

void write(Writer& out, const FdName& fd) {
    out.text(fd.name.substr(0, kMaxName));
}
void read(Reader& in, FdName& fd) {
    fd.name = in.text(kMaxName);
}

void write(Writer& out, const Join& join) {
    out.raw(join.token);
    out.number(join.index);
}
void read(Reader& in, Join& join) {
    join.token = take_array<16>(in);
    join.index = in.number<std::uint16_t>();
}

void write(Writer&, const Joined&) {}
void read(Reader&, Joined&) {}
void write(Writer&, const Ping&) {}
void read(Reader&, Ping&) {}
void write(Writer&, const LocksReleased&) {}
void read(Reader&, LocksReleased&) {}

void write(Writer& out, const Pages& pages) {
    for (const Run& run : pages.runs) {
        out.number(run.address);
        out.number(run.pages);
        out.number(run.zero ? kZeroRun : 0);
    }
}
void read(Reader& in, Pages& pages) {
    // Their number is the payload's length, which the header has been checked for.
    while (pages.runs.size() < kMaxRuns && !in.done()) {
        Run run;
        run.address = in.number<std::uint64_t>();
        run.pages = in.number<std::uint32_t>();
        const auto kind = in.number<std::uint32_t>();
        if (kind > kZeroRun) in.refuse();
        run.zero = kind == kZeroRun;
        pages.runs.push_back(run);
    }
}

void write(Writer& out, const Round& round) {
    out.number(round.round);
    put(out, round.last);
    out.number(round.pages);
    out.number(round.zero_pages);
}
void read(Reader& in, Round& round) {
    round.round = in.number<std::uint32_t>();
    round.last = take_bool(in);
    round.pages = in.number<std::uint64_t>();
    round.zero_pages = in.number<std::uint64_t>();
}

void write(Writer& out, const RoundDone& done) {
    out.number(done.round);
    out.number(done.pages);
}
void read(Reader& in, RoundDone& done) {
    done.round = in.number<std::uint32_t>();
    done.pages = in.number<std::uint64_t>();
}

void write(Writer& out, const State& state) {
    out.raw(state.state);
}

void write(Writer& out, const Ready& ready) {
    out.number(ready.state_crc);
    out.number(ready.pages_received);
    out.number(ready.load_ns);
}
void read(Reader& in, Ready& ready) {
    ready.state_crc = in.number<std::uint32_t>();
    ready.pages_received = in.number<std::uint64_t>();
    ready.load_ns = in.number<std::uint64_t>();
}

void write(Writer& out, const Locked& locked) {
    out.number(locked.received);
    out.number(locked.sent);
}
void read(Reader& in, Locked& locked) {
    locked.received = in.number<std::uint64_t>();
    locked.sent = in.number<std::uint64_t>();
}

void write(Writer& out, const Go& go) {
    out.number(go.epoch);
    out.number(go.paused);
    out.number(go.clock_ahead);
    out.number(go.round_trip_ns);
}
void read(Reader& in, Go& go) {
    go.epoch = in.number<std::uint64_t>();
    go.paused = in.number<std::uint64_t>();
    go.clock_ahead = in.number<std::uint64_t>();
    go.round_trip_ns = in.number<std::uint64_t>();
}

void write(Writer& out, const Running& running) {
    out.number(running.first_instruction);
}
void read(Reader& in, Running& running) {
    running.first_instruction = in.number<std::uint64_t>();
}

void write(Writer& out, const PageRequest& request) {
    out.number(request.address);
    out.number(request.pages);
}
void read(Reader& in, PageRequest& request) {
    request.address = in.number<std::uint64_t>();
    request.pages = in.number<std::uint32_t>();
}

void write(Writer& out, const Missing& missing) {
    out.number(missing.region);
    out.number(missing.first);
    out.number(static_cast<std::uint32_t>(missing.words.size()));
    for (const std::uint64_t word : missing.words)
        out.number(word);
}
void read(Reader& in, Missing& missing) {
    missing.region = in.number<std::uint32_t>();
    missing.first = in.number<std::uint64_t>();
    missing.words.resize(in.count(kMaxMissingWords, sizeof(std::uint64_t)));
    for (std::uint64_t& word : missing.words)
        word = in.number<std::uint64_t>();
}

void write(Writer& out, const Recover& recover) {
    out.raw(recover.uuid);
    out.number(recover.epoch);
    out.raw(recover.token);
    out.number(recover.connections);
}
void read(Reader& in, Recover& recover) {
    recover.uuid = take_array<16>(in);
    recover.epoch = in.number<std::uint64_t>();
    recover.token = take_array<16>(in);
    recover.connections = in.number<std::uint16_t>();
    if (recover.connections < 1 || recover.connections > kMaxConnections) in.refuse();
}

}  // namespace

template <typename Message>
Blob encode(const Message& message) {
    Writer out;
    write(out, message);
    return out.data();
}

template <typename Message>
Result<Message> decode(std::span<const std::byte> payload) {
    Reader in(payload);
    Message message;
    read(in, message);
    if (!in.done())
        return fail_host("{} of {} bytes has not what it should have", type_name(Message::kType),
                         payload.size());
    return message;
}

template <>
Result<State> decode(std::span<const std::byte> payload) {
    return State{.state = {payload.begin(), payload.end()}};
}

#define HAKO_MESSAGE(Message)                      \
    template Blob encode<Message>(const Message&); \
    template Result<Message> decode<Message>(std::span<const std::byte>);

HAKO_MESSAGE(Hello)
HAKO_MESSAGE(Accept)
HAKO_MESSAGE(Refuse)
HAKO_MESSAGE(FdName)
HAKO_MESSAGE(Join)
HAKO_MESSAGE(Joined)
HAKO_MESSAGE(Ping)
HAKO_MESSAGE(Pages)
HAKO_MESSAGE(Round)
HAKO_MESSAGE(RoundDone)
HAKO_MESSAGE(Ready)
HAKO_MESSAGE(LocksReleased)
HAKO_MESSAGE(Locked)
HAKO_MESSAGE(Go)
HAKO_MESSAGE(Running)
HAKO_MESSAGE(Abort)
HAKO_MESSAGE(PageRequest)
HAKO_MESSAGE(Missing)
HAKO_MESSAGE(Recover)
template Blob encode<State>(const State&);

#undef HAKO_MESSAGE

}  // namespace hako::migration
