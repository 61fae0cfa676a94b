"""What macOS and Windows have to be told of a UDP socket, so that every datagram goes out and all are read."""

from __future__ import annotations

import socket
import sys

LARGEST = 65_507
"""Bytes of the largest datagram over IPv4."""
_SIO_UDP_CONNRESET = 0x9800000C


def prepare(udp: socket.socket) -> None:
    """Have a socket send datagrams of any size, and read on when somebody to whom it has sent is gone.

    macOS sends no more at once than the buffer holds, which is 9216 bytes there. Windows tells of a closed port where
    the next datagram is received, after which asyncio reads none any more in Python 3.11 and 3.12
    (https://github.com/python/cpython/issues/127057): SIO_UDP_CONNRESET keeps Windows from telling.

    Raises:
        OSError: Windows refuses.
    """
    if udp.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < LARGEST:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
    if sys.platform == "win32":
        import ctypes
        from ctypes import wintypes

        off, returned = wintypes.BOOL(False), wintypes.DWORD()
        winsock = ctypes.WinDLL("ws2_32", use_last_error=True)
        if winsock.WSAIoctl(
            *(ctypes.c_size_t(udp.fileno()), wintypes.DWORD(_SIO_UDP_CONNRESET)),
            *(ctypes.byref(off), ctypes.sizeof(off), None, 0, ctypes.byref(returned), None, None),
        ):
            raise ctypes.WinError(ctypes.get_last_error())
