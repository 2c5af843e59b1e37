// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"highwater/election"
	"highwater/supervisor/journal"
)

// claimFile, in state_dir, says when the VIP was last claimed or renewed.
const claimFile = "claim.json"

// saver writes what must outlive the process, beside loop and executor, which a disk that hangs
// must not hold up; the latest wins. The promise is
// not its business: package promote makes that durable before it is answered.
type saver struct {
	dir string
	log *slog.Logger

	mu      sync.Mutex
	pending *election.Saved
	claim   *claimRecord
	wake    chan struct{}
}

func newSaver(dir string, log *slog.Logger) *saver {
	return &saver{dir: dir, log: log, wake: make(chan struct{}, 1)}
}

func (s *saver) save(v election.Saved) {
	s.mu.Lock()
	s.pending = &v
	s.mu.Unlock()
	s.nudge()
}

// date has a claim or renewal of the VIP written down.
func (s *saver) date(c claimRecord) {
	s.mu.Lock()
	s.claim = &c
	s.mu.Unlock()
	s.nudge()
}

func (s *saver) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run writes until ctx ends, and then what is left.
func (s *saver) run(ctx context.Context) {
	for {
		select {
		case <-s.wake:
			s.flush()
		case <-ctx.Done():
			s.flush()
			return
		}
	}
}

func (s *saver) flush() {
	s.mu.Lock()
	v, claim := s.pending, s.claim
	s.pending, s.claim = nil, nil
	s.mu.Unlock()
	if v != nil {
		if err := journal.SaveState(s.dir, v); err != nil {
			s.log.Error("state.save", "error", err)
		}
	}
	if claim != nil {
		if err := writeClaim(s.dir, *claim); err != nil {
			// The address is here and right; a restart only will not trust it.
			s.log.Warn("claim.undated", "error", err)
		}
	}
}

// loadSaved reads what the saver wrote; no file is the zero value.
func loadSaved(dir string) (election.Saved, error) {
	var v election.Saved
	if err := journal.LoadState(dir, &v); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return v, fmt.Errorf("%w; move the file away only if another host knows the cluster's term", err)
	}
	return v, nil
}

// claimRecord dates the last claim or renewal, so that a later process of the same boot
// knows how old an address is. It need not survive a power cut: nothing does that it dates.
type claimRecord struct {
	BootID string        `json:"boot_id"`
	At     time.Duration `json:"at"` // CLOCK_BOOTTIME
	Term   uint64        `json:"term"`
}

func writeClaim(dir string, c claimRecord) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, "."+claimFile)
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, claimFile))
}

// claimAge returns the age of the last claim; false when it is of another boot or unknown.
func claimAge(dir, bootID string) (time.Duration, bool) {
	b, err := os.ReadFile(filepath.Join(dir, claimFile))
	if err != nil {
		return 0, false
	}
	var c claimRecord
	if json.Unmarshal(b, &c) != nil || c.BootID != bootID {
		return 0, false
	}
	age := boottime() - c.At
	return age, age >= 0
}
