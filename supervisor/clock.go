// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"time"

	"highwater/election"
	"highwater/mysqlcheck"
)

// boottime reads CLOCK_BOOTTIME: it runs on while the host is suspended, which Go's
// monotonic clock does not.
func boottime() time.Duration { return mysqlcheck.Boottime() }

func now() election.Instant { return election.Instant(boottime()) }
