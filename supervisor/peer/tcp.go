// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A peer that was unplugged answers nothing, not even a reset. Idle connections to it are found dead by keep-alive after about five
// seconds, connections with unacknowledged data by TCP_USER_TIMEOUT (tcp(7)) after three.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3}

const userTimeout = 3 * time.Second

// control sets TCP_USER_TIMEOUT; accepted sockets inherit it from the listening one.
func control(timeout time.Duration) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(timeout.Milliseconds()))
		}); cerr != nil {
			return cerr
		}
		return err
	}
}

// boottime reads CLOCK_BOOTTIME, the clock of all instants (clock_gettime(2)).
func boottime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail since Linux 2.6.39
	return time.Duration(ts.Nano())
}
