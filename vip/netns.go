// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
)

// A namespace is a network namespace held open.
type namespace struct{ handle netns.NsHandle }

// openNamespace opens the network namespace at the path, or that of the calling
// thread if the path is empty.
func openNamespace(path string) (namespace, error) {
	if path == "" {
		h, err := netns.Get()
		if err != nil {
			return namespace{}, fmt.Errorf("open own network namespace: %w", err)
		}
		return namespace{h}, nil
	}
	h, err := netns.GetFromPath(path)
	if err != nil {
		return namespace{}, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	return namespace{h}, nil
}

// do calls f on a thread that is in the namespace.
func (ns namespace) do(f func() error) error {
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		current, err := netns.Get()
		if err != nil {
			runtime.UnlockOSThread()
			errc <- fmt.Errorf("open own network namespace: %w", err)
			return
		}
		inside := current.Equal(ns.handle)
		_ = current.Close() // only read from; nothing can be lost
		if inside {
			// The usual case, and the one that needs no CAP_SYS_ADMIN.
			defer runtime.UnlockOSThread()
		} else if err := netns.Set(ns.handle); err != nil {
			runtime.UnlockOSThread()
			errc <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		// A thread that changed its namespace stays locked and so ends with this
		// goroutine: no other goroutine can find itself in the wrong one.
		errc <- f()
	}()
	return <-errc
}

func (ns namespace) close() error { return ns.handle.Close() }
