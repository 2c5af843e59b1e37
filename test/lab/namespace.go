// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespaces is a set of Linux namespaces held by open files: they stay reachable, whatever becomes of the process
// that made them, until close. Nothing is pinned in the file system, so a crash leaves nothing behind.
type namespaces struct {
	files []*os.File
	types []int
}

// namespacesOf opens the given namespaces of a process; kinds are names below /proc/PID/ns.
func namespacesOf(pid int, kinds ...string) (*namespaces, error) {
	ns := &namespaces{}
	for _, kind := range kinds {
		if err := ns.open(fmt.Sprintf("/proc/%d/ns/%s", pid, kind), namespaceFlag[kind]); err != nil {
			ns.close()
			return nil, err
		}
	}
	return ns, nil
}

// networkNamespace opens one network namespace by its path, or by the name that "ip netns" gave it.
func networkNamespace(name string) (*namespaces, error) {
	path := name
	if !isPath(name) {
		path = "/run/netns/" + name
	}
	ns := &namespaces{}
	if err := ns.open(path, unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	return ns, nil
}

var namespaceFlag = map[string]int{
	"net": unix.CLONE_NEWNET,
	"pid": unix.CLONE_NEWPID,
	"mnt": unix.CLONE_NEWNS,
	"uts": unix.CLONE_NEWUTS,
}

func isPath(s string) bool {
	for i := range len(s) {
		if s[i] == '/' {
			return true
		}
	}
	return false
}

func (ns *namespaces) open(path string, flag int) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open namespace: %w", err)
	}
	ns.files = append(ns.files, f)
	ns.types = append(ns.types, flag)
	return nil
}

// file is the open namespace of one type, or nil.
func (ns *namespaces) file(flag int) *os.File {
	for i, t := range ns.types {
		if t == flag {
			return ns.files[i]
		}
	}
	return nil
}

func (ns *namespaces) close() {
	for _, f := range ns.files {
		f.Close()
	}
	ns.files, ns.types = nil, nil
}

// enter moves the calling thread into the namespaces; a nil set changes nothing, a closed one is an error. The thread
// must be thrown away afterwards (see onThread).
func (ns *namespaces) enter() error {
	if ns == nil {
		return nil
	}
	if len(ns.files) == 0 {
		return errors.New("enter namespaces: they are closed")
	}
	for i, f := range ns.files {
		if ns.types[i] == unix.CLONE_NEWNS {
			// setns(2): a thread that shares its root and working directory cannot change mount namespaces.
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return fmt.Errorf("unshare file system attributes: %w", err)
			}
		}
		if err := unix.Setns(int(f.Fd()), ns.types[i]); err != nil {
			return fmt.Errorf("enter %s: %w", f.Name(), err)
		}
	}
	return nil
}

// onThread runs fn on an operating system thread of its own, which ends with fn. It never takes the main thread:
// that one cannot end, and /proc/self describes its namespaces as those of the whole process.
func onThread(fn func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			taken := make(chan struct{})
			onThread(func() { close(taken); fn() })
			<-taken
			return
		}
		fn() // No UnlockOSThread: the runtime ends the thread with the goroutine.
	}()
}

// inside runs fn in the namespaces and returns its error. What fn opens (a socket, a file) belongs to them for good;
// what fn starts does not outlive it.
func inside(ns *namespaces, fn func() error) error {
	result := make(chan error, 1)
	onThread(func() {
		if err := ns.enter(); err != nil {
			result <- err
			return
		}
		result <- fn()
	})
	return <-result
}
