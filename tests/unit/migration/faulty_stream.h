// A connection that fails when a test says so.
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "migration/protocol/frame.h"
#include "migration/transport/stream.h"

namespace hako::migration::testing {

enum class Harm {
    kCutBefore,  ///< all connections end; nothing of the frame goes
    kCutInside,  ///< half of it goes
    kCutAfter,   ///< all of it goes
    kCutThis,    ///< as kCutBefore, but this connection only
    kSwallow,    ///< this and all that comes after goes nowhere; nobody is told
    kFlipMagic,
    kFlipType,
    kFlipLength,
    kFlipCrc,
    kFlipPayload,
};

/// What happens to one side's frames, shared by its connections.
struct Trouble {
    Type type = Type::kAbort;
    Harm harm = Harm::kCutBefore;
    int after = 0;  ///< so many frames of that type go well

    std::mutex mutex;
    bool due = false;         ///< it has begun
    bool swallowing = false;  ///< and goes on
    std::vector<Stream*> streams;
    EventFd never = EventFd::create().value();
};

inline std::shared_ptr<Trouble> make_trouble(Type type, Harm harm, int after) {
    auto trouble = std::make_shared<Trouble>();
    trouble->type = type;
    trouble->harm = harm;
    trouble->after = after;
    return trouble;
}

class FaultyStream final : public Stream {
  public:
    FaultyStream(std::unique_ptr<Stream> inner, std::shared_ptr<Trouble> trouble)
        : inner_(std::move(inner)), trouble_(std::move(trouble)) {
        if (!trouble_) return;
        const std::lock_guard lock(trouble_->mutex);
        trouble_->streams.push_back(inner_.get());
    }
    ~FaultyStream() override {
        if (!trouble_) return;
        const std::lock_guard lock(trouble_->mutex);
        std::erase(trouble_->streams, inner_.get());
    }
    FaultyStream(const FaultyStream&) = delete;
    FaultyStream& operator=(const FaultyStream&) = delete;

    using Stream::receive;
    using Stream::send;

    Outcome<> send(std::span<iovec> parts, const Wait& wait) override {
        const std::optional<Harm> harm = look(parts);
        if (!harm) return inner_->send(parts, wait);
        std::vector<std::byte> bytes;
        for (const iovec& part : parts) {
            const auto* const from = static_cast<const std::byte*>(part.iov_base);
            bytes.insert(bytes.end(), from, from + part.iov_len);
        }
        switch (*harm) {
            case Harm::kCutBefore:
                cut();
                break;
            case Harm::kCutThis:
                inner_->shut_down();
                break;
            case Harm::kCutInside:
                (void)inner_->send(std::span<const std::byte>(bytes).first(bytes.size() / 2), wait);
                cut();
                break;
            case Harm::kCutAfter: {
                const auto sent = inner_->send(std::span<const std::byte>(bytes), wait);
                cut();
                return sent;
            }
            case Harm::kSwallow:
                swallowed_ += bytes.size();
                return {};
            case Harm::kFlipMagic:
                return send_flipped(bytes, 0, wait);
            case Harm::kFlipType:
                return send_flipped(bytes, 4, wait);
            case Harm::kFlipLength:
                return send_flipped(bytes, 9, wait);
            case Harm::kFlipCrc:
                return send_flipped(bytes, 13, wait);
            case Harm::kFlipPayload:
                return send_flipped(bytes, bytes.size() - 1, wait);
        }
        return inner_->send(parts, wait);
    }
    Outcome<> receive(std::span<iovec> parts, const Wait& wait) override {
        return inner_->receive(parts, wait);
    }
    Outcome<> send_fd(std::span<const std::byte> data, int fd, const Wait& wait) override {
        return inner_->send_fd(data, fd, wait);
    }
    std::optional<Fd> take_fd() override { return inner_->take_fd(); }
    [[nodiscard]] std::uint64_t handed() const override { return inner_->handed() + swallowed_; }
    void shut_down() override { inner_->shut_down(); }

  private:
    std::optional<Harm> look(std::span<const iovec> parts) {
        if (!trouble_) return std::nullopt;
        const std::lock_guard lock(trouble_->mutex);
        if (trouble_->swallowing) return Harm::kSwallow;
        if (trouble_->due || parts.empty() || parts[0].iov_len != kHeaderBytes) return std::nullopt;
        std::array<std::byte, kHeaderBytes> header{};
        std::memcpy(header.data(), parts[0].iov_base, kHeaderBytes);
        const auto decoded = decode_header(header);
        if (!decoded || decoded->type != trouble_->type || trouble_->after-- > 0) return std::nullopt;
        trouble_->due = true;
        trouble_->swallowing = trouble_->harm == Harm::kSwallow;
        return trouble_->harm;
    }
    void cut() {
        const std::lock_guard lock(trouble_->mutex);
        for (Stream* const stream : trouble_->streams)
            stream->shut_down();
    }
    Outcome<> send_flipped(std::vector<std::byte>& bytes, std::size_t at, const Wait& wait) {
        bytes[at] ^= std::byte{0x40};
        return inner_->send(std::span<const std::byte>(bytes), wait);
    }

    std::unique_ptr<Stream> inner_;
    std::shared_ptr<Trouble> trouble_;
    std::uint64_t swallowed_ = 0;
};

}  // namespace hako::migration::testing
