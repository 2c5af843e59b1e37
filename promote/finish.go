// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
)

// FinishInput is what is left to do once a promoted server is in use.
type FinishInput struct {
	Term uint64
	// Idle are the events that did not run on the old primary, as schema.name. All
	// others that wait for a promotion are enabled, and if nobody knows, all.
	Idle []string
}

// FinishResult is what was done.
type FinishResult struct {
	Reset  bool     // there was a channel, and it is gone
	Events []string // enabled now
}

// Finish removes the channel to the old primary from a promoted server and
// enables its events. The VIP need not wait for it. What the channel was is
// saved in the state directory first. It may be repeated.
//
// With semi-sync on, an event cannot be enabled before a replica acknowledges
// it: give ctx a deadline, and call again.
func (s *Server) Finish(ctx context.Context, in FinishInput) (FinishResult, error) {
	var result FinishResult
	ctx, c, end, err := s.start(ctx, "finish promotion", rankPrepare)
	if err != nil {
		return result, err
	}
	defer end()
	st, err := c.state(ctx)
	if err != nil {
		return result, fmt.Errorf("finish promotion: %w", err)
	}
	if !st.writable {
		return result, errors.New("finish promotion: server is read-only: it was not promoted")
	}
	err = s.keepPromise(in.Term, func(p *Promise) { p.Promised, p.Term, p.Primary = in.Term, in.Term, s.cfg.Node })
	if err != nil {
		return result, fmt.Errorf("finish promotion: %w", err)
	}
	if result.Reset, err = c.removeChannel(ctx, in.Term); err != nil {
		return result, fmt.Errorf("finish promotion: %w", err)
	}
	if result.Events, err = c.enableEvents(ctx, in.Idle); err != nil {
		return result, fmt.Errorf("finish promotion: %w", err)
	}
	return result, nil
}

// removeChannel forgets the source, unless that would lose what it sent.
func (c *session) removeChannel(ctx context.Context, term uint64) (removed bool, err error) {
	if err := c.server.awaitStop(ctx); err != nil {
		return false, err
	}
	if ch, err := c.channel(ctx); err != nil || ch == nil {
		return false, err
	}
	if err := c.stopReceiver(ctx); err != nil {
		return false, err
	}
	if err := c.server.awaitStop(ctx); err != nil {
		return false, err
	}
	p, ch, err := c.position(ctx)
	if err != nil || ch == nil {
		return false, err
	}
	if waiting := p.Received.Subtract(p.Executed); !waiting.IsEmpty() {
		return false, fmt.Errorf("%d received transactions are not applied: %s", waiting.Count(), waiting)
	}
	if err := ch.save(c.server.cfg.StateDir, term, p); err != nil {
		return false, err
	}
	if err := c.exec(ctx, mysqlcheck.StmtStopReplica); err != nil {
		return false, err
	}
	return true, c.exec(ctx, mysqlcheck.StmtResetReplica)
}

// The file of a saved channel is replica-status-TERM.json.
const (
	savedPrefix = "replica-status-"
	savedSuffix = ".json"
)

// savedChannel is a channel as it was before it was removed. The server never
// shows its password.
type savedChannel struct {
	Term      uint64            `json:"term"`
	Executed  gtid.Set          `json:"executed"`
	Received  gtid.Set          `json:"received"`
	Heartbeat time.Duration     `json:"heartbeat"` // ns
	Status    map[string]string `json:"status"`    // SHOW REPLICA STATUS
}

// save makes the channel durable in dir.
func (ch *channel) save(dir string, term uint64, p Position) error {
	name := savedPrefix + strconv.FormatUint(term, 10) + savedSuffix
	err := writeJSON(dir, name, savedChannel{term, p.Executed, p.Received, ch.heartbeat, ch.row})
	if err != nil {
		return fmt.Errorf("save replica status: %w", err)
	}
	return nil
}

// loadChannel returns the channel saved last in dir; nil if none was.
func loadChannel(dir string) (*channel, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("find saved replica status: %w", err)
	}
	latest, found := uint64(0), false
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), savedPrefix)
		if !ok {
			continue
		}
		term, err := strconv.ParseUint(strings.TrimSuffix(name, savedSuffix), 10, 64)
		if err == nil && (!found || term > latest) {
			latest, found = term, true
		}
	}
	if !found {
		return nil, nil
	}
	path := filepath.Join(dir, savedPrefix+strconv.FormatUint(latest, 10)+savedSuffix)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var saved savedChannel
	if err == nil {
		err = json.Unmarshal(text, &saved)
	}
	if err != nil {
		return nil, fmt.Errorf("read saved replica status %s: %w", path, err)
	}
	ch, err := parseChannel(saved.Status)
	if err != nil {
		return nil, fmt.Errorf("read saved replica status %s: %w", path, err)
	}
	ch.heartbeat = saved.Heartbeat
	return ch, nil
}
