// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// pollGrain is how often a wait on a process looks whether its context ended.
const pollGrain = 100 * time.Millisecond

// killProcess sends SIGKILL to the process that pid names and waits until it
// has ended. SIGTERM would not do: on its way down a server tells every client
// that waits for an acknowledgement OK (docs/design.md §2).
//
// The signal goes through a pidfd, and pid is asked again once that is open, so
// a process that got the number in the meantime is not hit.
func killProcess(ctx context.Context, pid func() (int, error)) (killed int, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, fmt.Errorf("kill server: %w", err)
		}
		id, err := pid()
		if err != nil {
			return 0, fmt.Errorf("kill server: find its process: %w", err)
		}
		fd, err := unix.PidfdOpen(id, 0)
		if errors.Is(err, unix.ESRCH) {
			continue // it ended between the two; ask who is there now
		}
		if err != nil {
			return 0, fmt.Errorf("kill server: open process %d: %w", id, err)
		}
		again, err := pid()
		if err == nil && again != id {
			_ = unix.Close(fd)
			continue
		}
		if err == nil {
			err = killPidfd(ctx, fd)
		}
		_ = unix.Close(fd)
		if err != nil {
			return 0, fmt.Errorf("kill server process %d: %w", id, err)
		}
		return id, nil
	}
}

// killPidfd kills the process behind fd and waits for its end.
func killPidfd(ctx context.Context, fd int) error {
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	for {
		// A pidfd becomes readable when its process ends.
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(pollGrain.Milliseconds()))
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for its end: %w", err)
		case ctx.Err() != nil:
			return fmt.Errorf("wait for its end: %w", context.Cause(ctx))
		}
	}
}
