#include "virtio/net/frame_buffer.h"

#include <cstring>

namespace hako::virtio::net {

std::span<std::byte> FrameBuffer::room() {
    // What is left of a frame moves to the front when the rest of the longest would not fit behind it.
    if (bytes() == 0) {
        begin_ = end_ = 0;
    } else if (kBytes - begin_ < kLengthBytes + kMaxReceivedFrame) {
        std::memmove(memory_.get(), memory_.get() + begin_, bytes());
        end_ = bytes();
        begin_ = 0;
    }
    return {memory_.get() + end_, kBytes - end_};
}

std::uint32_t FrameBuffer::length() const {
    std::uint32_t length = 0;
    if (bytes() >= kLengthBytes) std::memcpy(&length, memory_.get() + begin_, sizeof length);
    return __builtin_bswap32(length);
}

std::expected<std::span<const std::byte>, FrameBuffer::NoFrame> FrameBuffer::next() const {
    if (bytes() < kLengthBytes) return std::unexpected(NoFrame::kIncomplete);
    const std::size_t frame = length();
    if (frame < kMinFrame || frame > kMaxReceivedFrame) return std::unexpected(NoFrame::kBadLength);
    if (bytes() - kLengthBytes < frame) return std::unexpected(NoFrame::kIncomplete);
    return std::span(memory_.get() + begin_ + kLengthBytes, frame);
}

void FrameBuffer::pop() {
    begin_ += kLengthBytes + length();
}

}  // namespace hako::virtio::net
