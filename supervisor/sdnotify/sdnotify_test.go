// SPDX-License-Identifier: Apache-2.0

package sdnotify

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func env(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// manager is a fake systemd.
func manager(t *testing.T, address string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestNotify(t *testing.T) {
	for name, address := range map[string]string{
		"path":     filepath.Join(t.TempDir(), "notify"),
		"abstract": fmt.Sprintf("@highwater-test-%d", os.Getpid()),
	} {
		t.Run(name, func(t *testing.T) {
			m := manager(t, address)
			n, err := New(env(map[string]string{"NOTIFY_SOCKET": address}))
			if err != nil {
				t.Fatal(err)
			}
			for _, tc := range []struct {
				send func() error
				want string
			}{
				{n.Ready, "READY=1"},
				{n.Watchdog, "WATCHDOG=1"},
				{n.Stopping, "STOPPING=1"},
				{func() error { return n.Status("primary\nREADY=1") }, "STATUS=primary READY=1"},
			} {
				if err := tc.send(); err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, 100)
				_ = m.SetReadDeadline(time.Now().Add(10 * time.Second))
				k, err := m.Read(buf)
				if err != nil || string(buf[:k]) != tc.want {
					t.Errorf("got %q, %v; want %q", buf[:k], err, tc.want)
				}
			}
			if n.WatchdogInterval() != 0 {
				t.Error("a watchdog that nobody asked for")
			}
		})
	}
}

func TestWatchdogInterval(t *testing.T) {
	address := filepath.Join(t.TempDir(), "notify")
	manager(t, address)
	for _, tc := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"3000000", strconv.Itoa(os.Getpid()), 3 * time.Second},
		{"3000000", "", 3 * time.Second},
		{"3000000", "1", 0}, // meant for another process
		{"", "", 0},
		{"-1", "", 0},
		{"99999999999999999999", "", 0},
	} {
		n, err := New(env(map[string]string{"NOTIFY_SOCKET": address, "WATCHDOG_USEC": tc.usec, "WATCHDOG_PID": tc.pid}))
		if err != nil {
			t.Fatal(err)
		}
		if got := n.WatchdogInterval(); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

func TestOutsideOfSystemd(t *testing.T) {
	n, err := New(env(nil))
	if n != nil || err != nil {
		t.Fatalf("New = %v, %v", n, err)
	}
	if err := errors.Join(n.Ready(), n.Watchdog(), n.Stopping(), n.Status("x")); err != nil || n.WatchdogInterval() != 0 {
		t.Error(err)
	}
	if _, err := New(env(map[string]string{"NOTIFY_SOCKET": filepath.Join(t.TempDir(), "absent")})); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent socket: %v", err)
	}
}

// A manager that does not read must not stop the loop.
func TestNeverBlocks(t *testing.T) {
	address := filepath.Join(t.TempDir(), "notify")
	manager(t, address)
	n, err := New(env(map[string]string{"NOTIFY_SOCKET": address}))
	if err != nil {
		t.Fatal(err)
	}
	for range 1_000_000 {
		if err := n.Watchdog(); err != nil {
			if !errors.Is(err, unix.EAGAIN) {
				t.Error(err)
			}
			return
		}
	}
	t.Error("the queue has no end")
}
