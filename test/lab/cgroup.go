// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// cgroupMount is where the unified cgroup hierarchy is mounted, writable, or "".
func cgroupMount() string {
	f, err := os.Open("/proc/mounts")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// proc(5): device, mount point, type, options
		fields := strings.Fields(lines.Text())
		if len(fields) >= 4 && fields[2] == "cgroup2" && strings.HasPrefix(fields[3], "rw") {
			return fields[1]
		}
	}
	return ""
}

// makeCgroup makes the cgroup of one host and opens it.
func makeCgroup(path string) (*os.File, error) {
	if err := os.Mkdir(path, 0o755); err != nil && !os.IsExist(err) {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	return f, nil
}

// freezeCgroup stops all processes of a cgroup, or lets them go on, and waits until that is so.
func freezeCgroup(path string, frozen bool) error {
	value := "0"
	if frozen {
		value = "1"
	}
	if err := os.WriteFile(filepath.Join(path, "cgroup.freeze"), []byte(value), 0o644); err != nil {
		return fmt.Errorf("freeze cgroup: %w", err)
	}
	for range 1000 {
		events, err := os.ReadFile(filepath.Join(path, "cgroup.events"))
		if err != nil {
			return fmt.Errorf("freeze cgroup: %w", err)
		}
		if strings.Contains(string(events), "frozen "+value) {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("freeze cgroup %s: not %s after a second", filepath.Base(path), value)
}

// removeCgroup removes a cgroup whose processes have been killed; the kernel takes a moment to forget them.
func removeCgroup(path string) error {
	var err error
	for range 500 {
		if err = os.Remove(path); err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	return fmt.Errorf("remove cgroup: %w", err)
}
