#include "tools/hako/ctl.h"

#include <fmt/core.h>

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <cstdio>

#include "tools/hako/ctl_client.h"
#include "tools/hako/ctl_migrate.h"
#include "tools/hako/ctl_output.h"
#include "tools/hako/ctl_request.h"

namespace hako {
namespace {

/// What the VMM said, as an error: its chain, or else its status.
Error refusal(const CtlClient::Reply& reply) {
    const Fault fault = reply.status >= 500 ? Fault::kHost : Fault::kInput;
    std::string text = fmt::format("{} {}", reply.status, reply.reason);
    boost::system::error_code error;
    const auto causes = boost::json::parse(reply.body, error);
    if (!error && causes.is_array())
        for (const auto& cause : causes.get_array())
            if (cause.is_string()) text += fmt::format(": {}", std::string_view(cause.get_string()));
    return {fault, std::move(text)};
}

/// Lines of events as they come; pieces end with a line.
void print_events(std::string_view text, bool json) {
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        if (line.empty()) continue;
        if (json)
            fmt::print("{}\n", line);
        else
            fmt::print("{}", ctl_event_text(line));
    }
    std::fflush(stdout);
}

Result<> run(const cli::CtlCommand& command) {
    const cli::CtlVerb& verb = *command.verb;
    cli::CtlRequest request = HAKO_TRY(cli::build_ctl_request(verb, command.words));
    const bool events = verb.name == "events";
    // From the beginning, unless the user says otherwise.
    if (events && request.target.find("since=") == std::string::npos)
        request.target +=
            (request.target.find('?') == std::string::npos ? "?" : "&") + std::string("since=0");
    CtlClient client = HAKO_TRY(CtlClient::connect(command.api_socket));
    const auto on_piece = [&](std::string_view piece) {
        print_events(piece, command.json);
        return std::ferror(stdout) == 0;
    };
    const CtlClient::Reply reply = HAKO_TRY(client.call(request, on_piece));
    if (reply.status >= 300) return std::unexpected(refusal(reply));
    if (verb.name == "migrate") return follow_migration(client, command.json);
    if (events) {
        print_events(reply.body, command.json);
    } else if (command.json || verb.name == "metrics") {
        fmt::print("{}{}", reply.body, reply.body.empty() || reply.body.ends_with('\n') ? "" : "\n");
    } else {
        fmt::print("{}", ctl_text(verb.name, reply.body));
    }
    return {};
}

}  // namespace

ExitCode control(const cli::CtlCommand& command) {
    const Result<> result = run(command);
    if (result) return ExitCode::kPowerOff;
    fmt::print(stderr, "{}",
               cli::error_line(Error(result.error()).wrap(fmt::format("ctl {}", command.verb->name))));
    return exit_code(result.error().fault());
}

}  // namespace hako
