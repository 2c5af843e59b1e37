// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// clean waits until its standard input ends, which it does with the program that holds the other end, however that
// dies, and then removes the lab's directory ($1) and its cgroups ($2-*; none if empty). A frozen file system is thawed first:
// processes that wait for one cannot even be killed. The rest may take a moment, while processes end.
const clean = `
cat >/dev/null
dir=$1
for disk in "$dir"/*/disk; do
	fsfreeze --unfreeze "$disk" 2>/dev/null
done
tries=0
while [ $tries -lt 200 ]; do
	tries=$((tries + 1))
	left=
	for disk in "$dir"/*/disk; do
		umount "$disk" 2>/dev/null
	done
	for group in ${2:+"$2"-*}; do
		[ ! -d "$group" ] || rmdir "$group" 2>/dev/null || left=1
	done
	rm -rf --one-file-system "$dir" 2>/dev/null || left=1
	[ -z "$left" ] && exit 0
	sleep 0.02
done
echo "left behind: $dir" >&2
exit 1
`

// A janitor owns a lab's directory and cgroups, and removes them when the lab is closed or its program is gone. It is
// a process, for a program cannot clean up after its own SIGKILL.
type janitor struct {
	dir    string
	groups string // path prefix of the cgroups, or "" without cgroups
	lock   *os.File
	stdin  io.Closer
	cmd    *exec.Cmd
	stderr strings.Builder
}

// lockName is a file in every lab's directory that is locked for as long as its program lives.
const lockName = "lock"

func newJanitor(parent, name string) (*janitor, error) {
	j := &janitor{dir: filepath.Join(parent, name)}
	// The directory gets its name only when the lock is held, so that Sweep never finds one that is not.
	draft, err := os.MkdirTemp(parent, ".hwlab-")
	if err != nil {
		return nil, fmt.Errorf("make the lab's directory: %w", err)
	}
	if err := os.Chmod(draft, 0o755); err != nil {
		return nil, fmt.Errorf("make the lab's directory: %w", err)
	}
	if j.lock, err = os.Create(filepath.Join(draft, lockName)); err != nil {
		return nil, fmt.Errorf("make the lab's directory: %w", err)
	}
	if err := unix.Flock(int(j.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("lock the lab's directory: %w", err)
	}
	if err := os.Rename(draft, j.dir); err != nil {
		return nil, fmt.Errorf("make the lab's directory: %w", err)
	}
	if mount := cgroupMount(); mount != "" {
		j.groups = filepath.Join(mount, name)
	}
	j.cmd = cleanCommand(j.dir, j.groups)
	j.cmd.Stderr = &j.stderr
	// In a session of its own: neither Ctrl-C nor a closed terminal may end it first.
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if j.stdin, err = j.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start the janitor: %w", err)
	}
	if err := j.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the janitor: %w", err)
	}
	return j, nil
}

// cleanCommand is clean for one lab.
func cleanCommand(dir, groups string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", "-c", clean, "sh", dir, groups)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	return cmd
}

// close has everything removed, and waits.
func (j *janitor) close() error {
	if err := j.stdin.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("end the janitor: %w", err)
	}
	err := j.cmd.Wait()
	j.lock.Close()
	if err != nil {
		return fmt.Errorf("clean up after the lab: %w: %s", err, strings.TrimSpace(j.stderr.String()))
	}
	return nil
}

// Sweep removes from dir what labs left there whose program and janitor are both gone, as after a power cut. Labs
// that are in use, by any program, are not touched.
func Sweep(dir string) error {
	labs, err := filepath.Glob(filepath.Join(dir, "hwlab-*-*"))
	if err != nil {
		return fmt.Errorf("look for old labs: %w", err)
	}
	for _, lab := range labs {
		lock, err := os.Open(filepath.Join(lab, lockName))
		if err != nil {
			continue // being removed, or not ours
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			groups := ""
			if mount := cgroupMount(); mount != "" {
				groups = filepath.Join(mount, filepath.Base(lab))
			}
			if out, err := cleanCommand(lab, groups).CombinedOutput(); err != nil {
				lock.Close()
				return fmt.Errorf("sweep %s: %w: %s", lab, err, out)
			}
		}
		lock.Close()
	}
	return nil
}
