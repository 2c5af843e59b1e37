// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	lockName   = "highwater.lock"
	socketName = "control.sock"
)

// ErrLocked is wrapped by the error of [Listen] when another process holds the state directory.
var ErrLocked = errors.New("another supervisor uses this state directory")

// Lock takes the state directory for a command that works where no supervisor runs, until it is closed. It returns an error that wraps
// [ErrLocked] if one does.
func Lock(dir string) (io.Closer, error) {
	held, err := lock(dir)
	if err != nil {
		return nil, err
	}
	return held, nil
}

// lock takes the state directory for this process, until the file is closed or the process ends (flock(2)). The holder's process id is
// in the file for people; the lock is the kernel's.
func lock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		defer f.Close()
		holder, _ := io.ReadAll(io.LimitReader(f, 32))
		if pid := strings.TrimSpace(string(holder)); pid != "" {
			return nil, fmt.Errorf("lock %s: %w (process %s)", dir, ErrLocked, pid)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, ErrLocked)
	case err != nil:
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
