#include "migration/progress.h"

#include <algorithm>
#include <chrono>

namespace hako::migration {

std::string_view phase_name(Phase phase) {
    switch (phase) {
        case Phase::kStarting:
            return "starting";
        case Phase::kPrecopy:
            return "memory (precopy)";
        case Phase::kCompleting:
            return "completing";
        case Phase::kPostcopy:
            return "memory (postcopy)";
        case Phase::kOver:
            return "over";
    }
    return "";
}

std::string_view status_name(Status status) {
    switch (status) {
        case Status::kOngoing:
            return "ongoing";
        case Status::kFinished:
            return "finished";
        case Status::kFailed:
            return "failed";
        case Status::kCancelled:
            return "cancelled";
        case Status::kUnconfirmed:
            return "handed-over-unconfirmed";
        case Status::kStranded:
            return "failed-needs-operator";
        case Status::kLost:
            return "lost-to-destination";
        case Status::kGone:
            return "lost";
    }
    return "";
}

void StepTimes::enter(std::string_view step) {
    const auto now = std::chrono::steady_clock::now();
    if (!now_.empty()) {
        auto same = std::ranges::find(over_, now_, &StepTime::step);
        if (same == over_.end()) same = over_.insert(over_.end(), {.step = now_});
        same->time += now - since_;
    }
    now_ = step;
    since_ = now;
}

Stamp now_stamp() {
    return static_cast<Stamp>(
        std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count());
}

}  // namespace hako::migration
