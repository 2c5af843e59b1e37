// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Reseed replaces the data of a MariaDB host by a copy of another one's, as an administrator does from a snapshot of
// its disk, and starts the server: read-only, and not replicating. The donor's disk takes no writes for the moment of
// the copy, which is as after a crash of it. What only this host had is gone. It needs Config.DiskSize.
func (h *Host) Reseed(ctx context.Context, donor *Host) error {
	if !h.lab.config.Flavor.IsMariaDB() {
		return fmt.Errorf("reseed %s: MySQL has the CLONE plugin for that", h)
	}
	h.Server.Kill()
	to := h.Server.config.DataDir
	if err := empty(to); err != nil {
		return fmt.Errorf("reseed %s: %w", h, err)
	}
	if err := donor.FreezeDisk(); err != nil {
		return fmt.Errorf("reseed %s from %s: %w", h, donor, err)
	}
	err := os.CopyFS(to, os.DirFS(donor.Server.config.DataDir))
	if err := errors.Join(err, donor.ThawDisk()); err != nil {
		return fmt.Errorf("reseed %s from %s: %w", h, donor, err)
	}
	// Whom the donor once followed, and what it had received from there.
	entries, err := os.ReadDir(to)
	if err != nil {
		return fmt.Errorf("reseed %s: %w", h, err)
	}
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, "relay") || strings.HasSuffix(name, "master.info") {
			if err := os.Remove(filepath.Join(to, name)); err != nil {
				return fmt.Errorf("reseed %s: %w", h, err)
			}
		}
	}
	if err := h.Server.Start(ctx); err != nil {
		return fmt.Errorf("reseed %s: %w", h, err)
	}
	// What a primary has written is in the position of its log, not in that of its replication.
	if err := h.Server.Exec(ctx, "SET GLOBAL gtid_slave_pos=@@global.gtid_binlog_pos"); err != nil {
		return fmt.Errorf("reseed %s: %w", h, err)
	}
	return nil
}

// empty removes all that is in a directory.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}
