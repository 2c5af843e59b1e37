// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what a process has used so far.
type usage struct {
	parent int
	cpu    time.Duration // user and system, with that of children that were waited for
	rss    int64         // bytes, now
}

// clockTick is the unit of times in /proc/PID/stat: USER_HZ is 100 on every architecture that Linux has in use.
const clockTick = 10 * time.Millisecond

// usageOf reads /proc/PID/stat (proc_pid_stat(5)).
func usageOf(pid int) (usage, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	u, err := parseStat(string(text))
	if err != nil {
		return usage{}, fmt.Errorf("read the usage of process %d: %w", pid, err)
	}
	return u, nil
}

func parseStat(text string) (usage, error) {
	// The second field is a name in parentheses, which may hold anything.
	_, rest, ok := strings.Cut(text[strings.LastIndexByte(text, ')')+1:], " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 22 {
		return usage{}, errors.New("parse stat: too short")
	}
	// Numbers of fields as in the manual page: the third one, the state, is fields[0].
	number := func(n int) (v int64) {
		if ok {
			var err error
			v, err = strconv.ParseInt(fields[n-3], 10, 64)
			ok = err == nil
		}
		return v
	}
	const ppid, utime, stime, cutime, cstime, rss = 4, 14, 15, 16, 17, 24
	u := usage{
		parent: int(number(ppid)),
		cpu:    time.Duration(number(utime)+number(stime)+number(cutime)+number(cstime)) * clockTick,
		rss:    number(rss) * int64(unix.Getpagesize()),
	}
	if !ok {
		return usage{}, errors.New("parse stat: not a number")
	}
	return u, nil
}

// childrenOf finds the processes whose parent is the given one.
func childrenOf(parent int) ([]int, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var children []int
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		u, err := usageOf(pid)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ESRCH): // it ended meanwhile
		case err != nil:
			return nil, err
		case u.parent == parent:
			children = append(children, pid)
		}
	}
	return children, nil
}
