// Whole messages over a stream.
#pragma once

#include <optional>
#include <span>
#include <utility>

#include "migration/protocol/frame.h"
#include "migration/protocol/messages.h"
#include "migration/transport/stream.h"

namespace hako::migration {

/// A frame that was read and whose checksum holds; what is in it is still to be decoded.
struct Frame {
    Type type = Type::kAbort;
    Blob payload;
};

Outcome<> send_frame(Stream& stream, Type type, std::span<const std::byte> payload, const Wait& wait);
/// The next frame. A REFUSE or ABORT is a Failure with the peer's causes.
Outcome<Frame> receive_frame(Stream& stream, const Wait& wait);

template <typename Message>
Outcome<> send_message(Stream& stream, const Message& message, const Wait& wait) {
    return send_frame(stream, Message::kType, encode(message), wait);
}

/// What `frame` must be, at this point of the protocol.
template <typename Message>
Outcome<Message> open_frame(const Frame& frame) {
    if (frame.type != Message::kType)
        return fail_as(Event::kGarbage, "{} came where {} is due", type_name(frame.type),
                       type_name(Message::kType));
    Result<Message> message = decode<Message>(frame.payload);
    if (!message) return std::unexpected(Failure(Event::kGarbage, std::move(message).error()));
    return *std::move(message);
}

template <typename Message>
Outcome<Message> receive_message(Stream& stream, const Wait& wait) {
    const Frame frame = HAKO_TRY(receive_frame(stream, wait));
    return open_frame<Message>(frame);
}

}  // namespace hako::migration
