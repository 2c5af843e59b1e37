// SPDX-License-Identifier: Apache-2.0

package vrrpnet

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// boottime reads CLOCK_BOOTTIME, which, unlike Go's own monotonic clock, also
// counts the time for which the host was suspended.
func boottime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(fmt.Sprintf("read CLOCK_BOOTTIME: %v", err)) // clock_gettime(2): every kernel since 2.6.39 has it
	}
	return time.Duration(t.Nano())
}
