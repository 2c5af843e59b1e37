// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// makeDisk makes a file system in a file and mounts it where the test sees it too; the host inherits the mount.
func (h *Host) makeDisk(size int64) error {
	image := filepath.Join(h.Dir(), "disk.img")
	f, err := os.Create(image)
	if err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	if err := os.Mkdir(h.diskDir(), 0o755); err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	for _, argv := range [][]string{
		{"mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1", image},
		{"mount", "-o", "loop", image, h.diskDir()},
	} {
		cmd, err := systemCommand(context.Background(), argv[0], argv[1:]...)
		if err != nil {
			return err
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("make disk: %s: %w: %s", argv[0], err, out)
		}
	}
	return nil
}

func (h *Host) diskDir() string { return filepath.Join(h.Dir(), "disk") }

func (h *Host) filler() string { return filepath.Join(h.diskDir(), "filler") }

// ErrNoDisk says that the lab was made without Config.DiskSize.
var ErrNoDisk = errors.New("the host has no disk of its own")

// FillDisk writes to the host's disk until it is full; FreeDisk undoes it.
func (h *Host) FillDisk() error {
	if !h.hasDisk {
		return fmt.Errorf("fill disk: %w", ErrNoDisk)
	}
	f, err := os.OpenFile(h.filler(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("fill disk: %w", err)
	}
	defer f.Close()
	// Large pieces first, then small ones for what is left between them.
	for _, size := range []int{1 << 20, 4 << 10} {
		piece := make([]byte, size)
		for {
			if _, err := f.Write(piece); errors.Is(err, unix.ENOSPC) {
				break
			} else if err != nil {
				return fmt.Errorf("fill disk: %w", err)
			}
		}
	}
	if err := f.Sync(); err != nil && !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("fill disk: %w", err)
	}
	return nil
}

// FreeDisk undoes FillDisk.
func (h *Host) FreeDisk() error {
	if err := os.Remove(h.filler()); err != nil {
		return fmt.Errorf("free disk: %w", err)
	}
	return nil
}

// FreezeDisk makes every write to the host's disk hang; reads go on. ThawDisk undoes it. A process that waits for a
// frozen disk cannot be killed: Server.Kill would hang.
func (h *Host) FreezeDisk() error {
	if !h.hasDisk {
		return fmt.Errorf("freeze disk: %w", ErrNoDisk)
	}
	return h.freezeDisk(fiFreeze)
}

// ThawDisk undoes FreezeDisk.
func (h *Host) ThawDisk() error { return h.freezeDisk(fiThaw) }

// The requests of linux/fs.h that fsfreeze(8) makes: _IOWR('X', 119, int) and _IOWR('X', 120, int).
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

func (h *Host) freezeDisk(request uint) error {
	f, err := os.Open(h.diskDir())
	if err != nil {
		return fmt.Errorf("freeze or thaw disk: %w", err)
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), request, 0); err != nil {
		return fmt.Errorf("freeze or thaw disk: %w", err)
	}
	return nil
}

// thawDisk thaws the disk if there is one and it is frozen.
func (h *Host) thawDisk() error {
	if !h.hasDisk {
		return nil
	}
	// EINVAL: it is not frozen.
	if err := h.ThawDisk(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}
