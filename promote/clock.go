// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"time"

	"highwater/mysqlcheck"
)

// sleep waits for d, or until ctx ends, whose error it then returns.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sleepUntil waits until CLOCK_BOOTTIME reads at least instant. Timers run on
// CLOCK_MONOTONIC, which may be behind, never ahead: so it looks again.
func sleepUntil(ctx context.Context, instant time.Duration) error {
	for {
		left := instant - mysqlcheck.Boottime()
		if left <= 0 {
			return nil
		}
		if err := sleep(ctx, left); err != nil {
			return err
		}
	}
}
