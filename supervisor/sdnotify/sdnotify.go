// SPDX-License-Identifier: Apache-2.0

// Package sdnotify tells systemd how the service is (sd_notify(3)). Every call returns at once: the loop feeds the watchdog itself, after
// a completed step, so that a hanging loop is a silent one.
package sdnotify

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Notifier sends to the service manager. A nil Notifier, as [New] returns outside of systemd, does nothing.
type Notifier struct {
	fd       int
	watchdog time.Duration
}

// New connects to the manager named by NOTIFY_SOCKET. Getenv is os.Getenv.
func New(getenv func(string) string) (*Notifier, error) {
	path := getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil, nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open notify socket: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil { // x/sys turns a leading @ into an abstract name
		return nil, errors.Join(fmt.Errorf("connect to notify socket %s: %w", path, err), unix.Close(fd))
	}
	n := &Notifier{fd: fd}
	if pid := getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if usec, err := strconv.ParseUint(getenv("WATCHDOG_USEC"), 10, 53); err == nil {
			n.watchdog = time.Duration(usec) * time.Microsecond
		}
	}
	return n, nil
}

// WatchdogInterval is how long the manager waits between two calls of Watchdog before it kills the service; 0 means that it does not.
// Call it twice as often.
func (n *Notifier) WatchdogInterval() time.Duration {
	if n == nil {
		return 0
	}
	return n.watchdog
}

// Ready says that the service has started.
func (n *Notifier) Ready() error { return n.send("READY=1") }

// Stopping says that the service has begun to end.
func (n *Notifier) Stopping() error { return n.send("STOPPING=1") }

// Watchdog says that the service is alive.
func (n *Notifier) Watchdog() error { return n.send("WATCHDOG=1") }

// Status sets the line that `systemctl status` shows.
func (n *Notifier) Status(text string) error {
	return n.send("STATUS=" + strings.ReplaceAll(text, "\n", " "))
}

// send returns EAGAIN rather than wait for a manager that does not read.
func (n *Notifier) send(state string) error {
	if n == nil {
		return nil
	}
	if err := unix.Sendto(n.fd, []byte(state), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, nil); err != nil {
		return fmt.Errorf("notify %s: %w", state, err)
	}
	return nil
}
