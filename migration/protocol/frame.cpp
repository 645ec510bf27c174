#include "migration/protocol/frame.h"

#include "migration/protocol/bytes.h"
#include "migration/protocol/messages.h"
#include "vmm/base/crc32c.h"

namespace hako::migration {
namespace {

constexpr std::size_t kCrcOffset = 12;

void put(std::array<std::byte, kHeaderBytes>& header, std::size_t at, std::uint32_t value,
         std::size_t width) {
    for (std::size_t byte = 0; byte < width; ++byte)
        header[at + byte] = static_cast<std::byte>(value >> (8 * byte));
}

std::uint32_t crc_of(std::span<const std::byte, kHeaderBytes> header, std::span<const std::byte> payload) {
    return crc32c(payload, crc32c(header.first<kCrcOffset>()));
}

}  // namespace

std::string_view type_name(Type type) {
    switch (type) {
        case Type::kHello:
            return "HELLO";
        case Type::kAccept:
            return "ACCEPT";
        case Type::kRefuse:
            return "REFUSE";
        case Type::kFd:
            return "FD";
        case Type::kJoin:
            return "JOIN";
        case Type::kJoined:
            return "JOINED";
        case Type::kPing:
            return "PING";
        case Type::kPages:
            return "PAGES";
        case Type::kRound:
            return "ROUND";
        case Type::kRoundDone:
            return "ROUND_DONE";
        case Type::kState:
            return "STATE";
        case Type::kReady:
            return "READY";
        case Type::kLocksReleased:
            return "LOCKS_RELEASED";
        case Type::kLocked:
            return "LOCKED";
        case Type::kGo:
            return "GO";
        case Type::kRunning:
            return "RUNNING";
        case Type::kAbort:
            return "ABORT";
        case Type::kPageRequest:
            return "PAGE_REQUEST";
        case Type::kMissing:
            return "MISSING";
        case Type::kRecover:
            return "RECOVER";
    }
    return "unknown";
}

std::uint32_t max_payload(Type type) {
    switch (type) {
        case Type::kHello:
            return kMaxConfig + kMaxCpu + 64 * KiB;
        case Type::kRefuse:
        case Type::kAbort:
            return kMaxCauses * (kMaxCause + 4) + 4;
        case Type::kPages:
            return kMaxRuns * kRunBytes;
        case Type::kState:
            return kMaxState;
        case Type::kFd:
            return 4 * KiB;
        case Type::kMissing:
            return kMaxMissingWords * 8 + 64;
        default:
            return 256;
    }
}

std::array<std::byte, kHeaderBytes> encode_header(Type type, std::uint16_t flags,
                                                  std::span<const std::byte> payload) {
    std::array<std::byte, kHeaderBytes> header{};
    put(header, 0, kMagic, 4);
    put(header, 4, static_cast<std::uint16_t>(type), 2);
    put(header, 6, flags, 2);
    put(header, 8, static_cast<std::uint32_t>(payload.size()), 4);
    put(header, kCrcOffset, crc_of(header, payload), 4);
    return header;
}

Result<Header> decode_header(std::span<const std::byte, kHeaderBytes> bytes) {
    Reader in(bytes);
    if (in.number<std::uint32_t>() != kMagic)
        return fail_host("this is no migration stream, or the peer lost its place in it");
    Header header;
    header.type = static_cast<Type>(in.number<std::uint16_t>());
    header.flags = in.number<std::uint16_t>();
    header.length = in.number<std::uint32_t>();
    header.crc = in.number<std::uint32_t>();
    if (type_name(header.type) == "unknown")
        return fail_host("a frame of unknown type {}", static_cast<unsigned>(header.type));
    if (header.flags != 0)
        return fail_host("{} with flags {:#x}, which nobody agreed upon", type_name(header.type),
                         header.flags);
    if (header.length > max_payload(header.type))
        return fail_host("{} of {} bytes: at most {} are allowed", type_name(header.type), header.length,
                         max_payload(header.type));
    return header;
}

Result<> check_crc(std::span<const std::byte, kHeaderBytes> header, std::span<const std::byte> payload) {
    Reader crc(header.subspan<kCrcOffset>());
    if (crc.number<std::uint32_t>() != crc_of(header, payload))
        return fail_host("a frame was damaged on its way: its checksum is wrong");
    return {};
}

}  // namespace hako::migration
