// Fuzzes what the other end of a stream socket sends to virtio-net: any bytes, cut anywhere.
//
// Input: one byte that says how the rest is cut, then the stream. Checks the buffer against a plain reading
// of the same bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>

#include "tests/fuzz/require.h"
#include "virtio/net/frame_buffer.h"

using namespace hako::virtio::net;
using hako::fuzz::require;

namespace {

/// The frames of a stream that is all there.
class Reference {
  public:
    explicit Reference(std::span<const std::uint8_t> stream) : left_(stream) {}

    /// The next frame, or nothing at its end or at a bad length.
    std::optional<std::span<const std::uint8_t>> next() {
        if (left_.size() < kLengthBytes) return std::nullopt;
        const std::size_t length =
            std::size_t{left_[0]} << 24 | std::size_t{left_[1]} << 16 | std::size_t{left_[2]} << 8 | left_[3];
        bad_ = length < kMinFrame || length > kMaxReceivedFrame;
        if (bad_ || left_.size() - kLengthBytes < length) return std::nullopt;
        const auto frame = left_.subspan(kLengthBytes, length);
        left_ = left_.subspan(kLengthBytes + length);
        return frame;
    }
    [[nodiscard]] bool bad() const { return bad_; }

  private:
    std::span<const std::uint8_t> left_;
    bool bad_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::size_t step = std::size_t{data[0]} + 1;
    const std::span stream(data + 1, size - 1);
    static FrameBuffer buffer;  // made once: it is large
    buffer.clear();
    Reference reference(stream);

    for (std::size_t at = 0; at < stream.size();) {
        const auto room = buffer.room();
        require(!room.empty(), "no room for the rest of a frame");
        const std::size_t count = std::min({step, room.size(), stream.size() - at});
        std::memcpy(room.data(), stream.data() + at, count);
        buffer.filled(count);
        at += count;
        auto frame = buffer.next();
        for (; frame; frame = buffer.next()) {
            const auto wanted = reference.next();
            require(wanted.has_value(), "a frame that is none");
            require(std::ranges::equal(*frame, std::as_bytes(*wanted)), "another frame");
            buffer.pop();
        }
        if (frame.error() == FrameBuffer::NoFrame::kIncomplete) continue;
        require(!reference.next() && reference.bad(), "a good length refused");
        require(buffer.length() < kMinFrame || buffer.length() > kMaxReceivedFrame, "a length not told");
        return 0;
    }
    require(!reference.next() && !reference.bad(), "a frame not given, or a bad length not seen");
    return 0;
}
