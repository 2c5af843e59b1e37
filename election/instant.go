// SPDX-License-Identifier: Apache-2.0

package election

import "time"

// Instant is a reading of CLOCK_BOOTTIME in nanoseconds. Zero means "never"; the shell
// never passes it as now.
type Instant int64

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub returns the time from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// within reports whether at is known and lies less than d before now.
func (i Instant) within(d time.Duration, now Instant) bool {
	return i != 0 && now.Sub(i) < d
}

// Earliest returns the smaller of two deadlines, of which zero means none.
func Earliest(a, b Instant) Instant {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}

// latest returns the later of two instants.
func latest(a, b Instant) Instant { return max(a, b) }
