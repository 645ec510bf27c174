// Words for what the structs cannot say about themselves.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "api/json/value.h"
#include "vmm/base/result.h"

namespace hako::api {

/// "net[0].mac: a unicast address is wanted, not "x"": the value of field `name` of the struct at `place`.
[[nodiscard]] std::unexpected<Error> refuse(const json::Place& place, std::string_view name,
                                            std::string_view wanted, std::string_view given);
/// What the contract knows and hako does not do.
[[nodiscard]] std::unexpected<Error> not_supported(const json::Place& place, std::string_view name,
                                                   std::string_view advice = "leave it out");

/// 1 to 64 letters, digits, '.', '_' or '-'; those that begin with "__" are hako's own.
[[nodiscard]] Result<> check_id(const json::Place& place, const std::string& id);
/// "_disk0", "_disk1" …: the first that is not taken.
[[nodiscard]] std::string free_id(std::string_view prefix,
                                  const std::function<bool(std::string_view)>& taken);

}  // namespace hako::api
