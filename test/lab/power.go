// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Freeze stops every process of the host, as a hypervisor that stalls would; only the kernel goes on, which answers
// ARP and acknowledges segments, and ends leases. With Isolate beside it nothing answers at all. Thaw undoes it.
func (h *Host) Freeze() error { return h.setFrozen(true) }

// Thaw undoes Freeze.
func (h *Host) Thaw() error { return h.setFrozen(false) }

func (h *Host) setFrozen(frozen bool) error {
	if _, err := h.at(); err != nil {
		return err
	}
	if h.group != "" {
		return freezeCgroup(h.group, frozen)
	}
	return h.signalAll(frozen)
}

// signalAll is the way without cgroups. A process that forks while it is being stopped is caught in the next round.
func (h *Host) signalAll(stop bool) error {
	sig := unix.SIGCONT
	if stop {
		sig = unix.SIGSTOP
	}
	done := map[int]bool{}
	for {
		pids, err := h.pids()
		if err != nil {
			return err
		}
		fresh := false
		for _, pid := range pids {
			if done[pid] {
				continue
			}
			done[pid], fresh = true, true
			if err := unix.Kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("signal process %d of %s: %w", pid, h.name, err)
			}
		}
		if !fresh {
			return nil
		}
	}
}

// pids are the processes in the host's PID namespace, as numbered outside.
func (h *Host) pids() ([]int, error) {
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", h.Pid()))
	if err != nil {
		return nil, fmt.Errorf("list the processes of %s: %w", h.name, err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list the processes of %s: %w", h.name, err)
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		// A process that is gone by now has no namespace.
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); err == nil && ns == own {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// PowerOff ends the host at once: the cable goes dead first, so that the kernel cannot send farewells for the sockets
// of the processes, which are then killed all together. What they wrote is on disk; /run is lost.
func (h *Host) PowerOff() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.init == nil {
		return fmt.Errorf("power %s off: %w", h.name, ErrOff)
	}
	if h.Server != nil {
		h.Server.unwant()
	}
	errs := []error{h.thawDisk()}
	if h.place.namespaces != nil {
		errs = append(errs, h.lab.sw.pullOut(h.name))
	}
	h.init.Kill() // With the init of a PID namespace the kernel kills all of it, frozen or not.
	h.init = nil
	if h.place.namespaces != nil {
		h.place.namespaces.close()
		h.place.namespaces = nil
	}
	if h.Server != nil && h.Server.current() != nil {
		<-h.Server.Done()
	}
	if h.place.cgroup != nil {
		h.place.cgroup.Close()
		h.place.cgroup = nil
		errs = append(errs, removeCgroup(h.group))
	}
	return errors.Join(errs...)
}

// PowerOn boots the host again and starts its server, which comes up read-only and does not replicate. Nothing
// else is started.
func (h *Host) PowerOn(ctx context.Context) error {
	if h.On() {
		return fmt.Errorf("power %s on: it is on", h.name)
	}
	h.mu.Lock()
	err := h.boot()
	h.mu.Unlock()
	if err != nil {
		return fmt.Errorf("power %s on: %w", h.name, err)
	}
	if h.Server == nil {
		return nil
	}
	return h.Server.Start(ctx)
}
