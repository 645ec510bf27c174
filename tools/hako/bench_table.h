// What was measured, and how it is shown.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace hako::bench {

/// One round of a job, or what is left of several. All but the rate is for one unit of work.
struct Figures {
    double rate = 0;                 ///< units a second
    std::optional<double> cpu;       ///< µs of host CPU, the guest's own work included
    std::optional<double> overhead;  ///< of these, outside the guest
    std::optional<double> system_calls;
    std::optional<double> exits;  ///< from the guest to KVM

    bool operator==(const Figures&) const = default;
};

/// The middle one, or the mean of the two in the middle; `values` is not empty.
double median(std::vector<double> values);
/// Each figure's median over the rounds that have it; `rounds` is not empty.
Figures median(const std::vector<Figures>& rounds);

/// Each figure of `a` as a share of that of `b`, round by round, and of these the median: what slowed the
/// host down for a while then hit both. As many rounds of one as of the other.
Figures ratio(const std::vector<Figures>& a, const std::vector<Figures>& b);

/// A job as each program did it.
struct Row {
    std::string name;  ///< "randread-4k-8"
    std::string unit;  ///< "request", "MiB"
    Figures hako;
    std::optional<Figures> peer;      ///< QEMU
    std::optional<Figures> limit;     ///< the host without a VM
    std::optional<Figures> of_peer;   ///< hako's as a share of QEMU's
    std::optional<Figures> of_limit;  ///< hako's as a share of the host's
};
/// All rounds of a job, by each program; none of a program that took no part.
Row make_row(std::string name, std::string unit, const std::vector<Figures>& hako,
             const std::vector<Figures>& peer, const std::vector<Figures>& limit);

/// Two tables: hako's figures divided by QEMU's, then the figures.
std::string table_text(const std::vector<Row>& rows);
/// {"rows": [{name, unit, hako: {rate, …}, qemu, host, ratio: {rate, …}}]} and a newline.
std::string json_text(const std::vector<Row>& rows);

}  // namespace hako::bench
