#include "migration/transport/channel.h"

#include <algorithm>
#include <array>

namespace hako::migration {
namespace {

/// A payload is believed to be this long before any of it is there.
constexpr std::size_t kStep = 1 * MiB;

std::unexpected<Failure> peer_failure(Event event, std::vector<std::string> causes) {
    if (causes.empty()) causes.emplace_back("the peer does not say why");
    Error error(Fault::kHost, std::move(causes.back()));
    for (std::size_t left = causes.size() - 1; left-- > 0;) {
        Error outer = std::move(error).wrap(std::move(causes[left]));
        error = std::move(outer);
    }
    return std::unexpected(Failure(event, std::move(error)));
}

template <typename Message>
std::unexpected<Failure> open_failure(Event event, const Frame& frame) {
    Outcome<Message> message = open_frame<Message>(frame);
    if (!message) return std::unexpected(std::move(message).error());
    return peer_failure(event, std::move(message->causes));
}

}  // namespace

Outcome<> send_frame(Stream& stream, Type type, std::span<const std::byte> payload, const Wait& wait) {
    if (payload.size() > max_payload(type))
        return fail_as(Event::kLocal, "{} of {} bytes: at most {} can be sent", type_name(type),
                       payload.size(), max_payload(type));
    auto header = encode_header(type, 0, payload);
    std::array<iovec, 2> parts{
        {{.iov_base = header.data(), .iov_len = header.size()},
         {.iov_base = const_cast<std::byte*>(payload.data()), .iov_len = payload.size()}}};
    return stream.send(std::span<iovec>(parts), wait);
}

Outcome<Frame> receive_frame(Stream& stream, const Wait& wait) {
    std::array<std::byte, kHeaderBytes> bytes{};
    HAKO_TRY(stream.receive(std::span<std::byte>(bytes), wait));
    const Result<Header> header = decode_header(bytes);
    if (!header) return std::unexpected(Failure(Event::kGarbage, header.error()));
    Frame frame{.type = header->type, .payload = {}};
    while (frame.payload.size() < header->length) {
        const std::size_t at = frame.payload.size();
        frame.payload.resize(std::min<std::size_t>(header->length, at + kStep));
        HAKO_TRY(stream.receive(std::span<std::byte>(frame.payload).subspan(at), wait));
    }
    if (Result<> good = check_crc(bytes, frame.payload); !good)
        return std::unexpected(Failure(Event::kGarbage, std::move(good).error()));
    if (frame.type == Type::kRefuse) return open_failure<Refuse>(Event::kRefused, frame);
    if (frame.type == Type::kAbort) return open_failure<Abort>(Event::kAborted, frame);
    return frame;
}

}  // namespace hako::migration
