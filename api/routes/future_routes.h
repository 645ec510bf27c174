// Endpoints of the contract whose features hako does not have yet.
#pragma once

#include "api/router/router.h"

namespace hako::api {

/// They take a JSON object and answer with 501.
void add_future_routes(Router& router);

}  // namespace hako::api
