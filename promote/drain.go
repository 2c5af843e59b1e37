// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"errors"
	"fmt"
	"time"

	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
)

const (
	// A wait looks again after a tenth of the time it has taken already: short
	// waits are not lengthened, and long ones cost nothing.
	pollMin, pollMax = time.Millisecond, 50 * time.Millisecond
	// pollThreads is how often a wait looks at the replication threads.
	pollThreads = 50 * time.Millisecond
)

// drain waits until target is executed, by the applier alone.
func (c *session) drain(ctx context.Context, target gtid.Set) (detail string, err error) {
	st, err := c.state(ctx)
	if err != nil {
		return "", err
	}
	queue := target.Subtract(st.executed)
	if queue.IsEmpty() {
		return "", nil
	}
	detail = fmt.Sprintf("%d transactions", queue.Count())
	// With the source side of semi-sync on, the applier waits for replicas.
	if err := c.semiSyncSourceOff(ctx, st); err != nil {
		return detail, err
	}
	ch, err := c.channel(ctx)
	if err != nil {
		return detail, err
	}
	if ch != nil && !ch.applierRunning && ch.applierError.Number == 0 {
		if err := c.startApplier(ctx, ch); err != nil {
			return detail, err
		}
	}
	if ch != nil && ch.delay > 0 {
		detail += fmt.Sprintf(", delayed by %v", ch.delay)
	}
	return detail, c.awaitExecuted(ctx, target, false)
}

// startApplier starts an applier that somebody stopped.
func (c *session) startApplier(ctx context.Context, ch *channel) error {
	if c.version.Flavor == mysqlcheck.MariaDB && ch.receiver == ReceiverStopped {
		// See keepRelayLog.
		return errors.New("applier is stopped, and to start it now would throw away what was received")
	}
	return c.exec(ctx, mysqlcheck.StmtStartApplier)
}

// awaitExecuted waits until target is executed. WAIT_FOR_EXECUTED_GTID_SET would
// wait on when the applier is broken; here its error ends the wait. With
// receiving, the receiver's error does too.
func (c *session) awaitExecuted(ctx context.Context, target gtid.Set, receiving bool) error {
	begin := time.Now()
	var looked time.Time // zero: look at once
	for {
		st, err := c.state(ctx)
		if err != nil {
			return err
		}
		if st.executed.Contains(target) {
			return nil
		}
		if time.Since(looked) >= pollThreads {
			looked = time.Now()
			if err := c.threadsAlive(ctx, receiving); err != nil {
				return err
			}
		}
		if err := sleep(ctx, min(max(time.Since(begin)/10, pollMin), pollMax)); err != nil {
			missing := target.Subtract(st.executed)
			return fmt.Errorf("%d transactions still to be applied: %w", missing.Count(), err)
		}
	}
}

// threadsAlive returns an error when what is missing will not be applied.
func (c *session) threadsAlive(ctx context.Context, receiving bool) error {
	ch, err := c.channel(ctx)
	switch {
	case err != nil:
		return err
	case ch == nil:
		return errors.New("there is no replication channel")
	case !ch.applierRunning && ch.applierError.Number != 0:
		return ch.applierError
	case !ch.applierRunning:
		return errors.New("applier is stopped")
	case receiving && ch.receiver != ReceiverRunning && ch.receiverError.Number != 0:
		return ch.receiverError
	}
	return nil
}
