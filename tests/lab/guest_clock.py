"""How far a guest's time of day is from the host's, asked over its network."""

import contextlib
import socket
import struct
import time
from typing import NamedTuple

from tests.lab.test_net import GUEST

PORT = 7001

#: Answers each packet with itself and CLOCK_REALTIME. (clock_gettime is system call 228.)
SERVE_TIME = rf"""
cat >/run/time.pl <<'END'
use Socket;
socket(S, PF_INET, SOCK_DGRAM, 0) && bind(S, sockaddr_in({PORT}, INADDR_ANY)) or die;
$time = "\0" x 16;
while (defined($from = recv(S, $_, 64, 0))) {{ syscall(228, 0, $time); send(S, $_ . $time, 0, $from); }}
END
perl /run/time.pl &
"""


class Offset(NamedTuple):
    """Seconds that the guest is ahead, and how much that may be off by."""

    ahead: float
    doubt: float


def _ask(peer: socket.socket, number: int) -> Offset | None:
    """None: no answer in a second."""
    question = struct.pack("<Q", number)
    before = time.time()
    peer.send(question)
    with contextlib.suppress(TimeoutError, ConnectionRefusedError):
        answer = peer.recv(64)
        while answer[:8] != question:  # that to a question before
            answer = peer.recv(64)
        after = time.time()
        seconds, nanoseconds = struct.unpack("<QQ", answer[8:])
        return Offset(seconds + nanoseconds / 1e9 - (before + after) / 2, (after - before) / 2)
    return None


def offset(questions: int = 20) -> Offset:
    """The answer that came back soonest."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.connect((GUEST, PORT))
        peer.settimeout(1)
        answers = [answer for number in range(questions) if (answer := _ask(peer, number))]
    assert answers, "the guest tells no time"
    return min(answers, key=lambda answer: answer.doubt)
