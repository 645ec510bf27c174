// Where FAT keeps what. (Microsoft Extensible Firmware Initiative FAT32 File System Specification 1.03)
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace hako::seed::fat {

// The boot sector.
inline constexpr std::size_t kBytesPerSector = 11;
inline constexpr std::size_t kSectorsPerCluster = 13;
inline constexpr std::size_t kReservedSectors = 14;
inline constexpr std::size_t kFatCount = 16;
inline constexpr std::size_t kRootEntries = 17;
inline constexpr std::size_t kSectors16 = 19;
inline constexpr std::size_t kMedia = 21;
inline constexpr std::size_t kFatSectors = 22;
inline constexpr std::size_t kSectorsPerTrack = 24;
inline constexpr std::size_t kHeads = 26;
inline constexpr std::size_t kSectors32 = 32;
inline constexpr std::size_t kDrive = 36;
inline constexpr std::size_t kExtended = 38;  ///< 0x29: the fields below are there
inline constexpr std::size_t kVolumeId = 39;
inline constexpr std::size_t kVolumeLabel = 43;
inline constexpr std::size_t kTypeText = 54;
inline constexpr std::size_t kSignature = 510;  ///< 55 AA

// A folder's entry.
inline constexpr std::size_t kEntry = 32;
inline constexpr std::size_t kShortName = 11;
inline constexpr std::size_t kAttributes = 11;
inline constexpr std::size_t kFirstCluster = 26;
inline constexpr std::size_t kFileSize = 28;
inline constexpr std::uint8_t kReadOnly = 0x01;
inline constexpr std::uint8_t kLabel = 0x08;
inline constexpr std::uint8_t kFolder = 0x10;
inline constexpr std::uint8_t kArchive = 0x20;
inline constexpr std::uint8_t kLongName = 0x0f;
inline constexpr std::uint8_t kDeleted = 0xe5;

// An entry that has a piece of a long name.
inline constexpr std::uint8_t kLastPiece = 0x40;
inline constexpr std::size_t kChecksum = 13;
inline constexpr std::array<std::size_t, 13> kUnits = {1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30};

/// FAT12 has fewer clusters than this, FAT16 fewer than the next.
inline constexpr std::size_t kFat16Clusters = 4085;
inline constexpr std::size_t kFat32Clusters = 65525;
inline constexpr std::size_t kFirstDataCluster = 2;

}  // namespace hako::seed::fat
