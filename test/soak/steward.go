// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"highwater/election"
	"highwater/mysqlcheck"
	"highwater/supervisor/web"
	"highwater/test/cluster"
	"highwater/test/lab"
)

// steward does what service managers do for a server and a supervisor that have ended, and what is
// left to people: a server that is held is rebuilt, and one that is kept out for ending so often is
// taken in again, since it was not its fault. Everything else the cluster must do by itself.
type steward struct {
	c    *cluster.Cluster
	held map[string]time.Time // since when a host has been held without being rebuilt by itself
}

const (
	startLimit   = 30 * time.Second
	rebuildLimit = time.Minute
)

// tend looks after a host once.
func (s *steward) tend(ctx context.Context, h *lab.Host, r *round) error {
	if !h.On() {
		return nil
	}
	if !s.c.Supervisor(h).Alive() {
		r.notes = append(r.notes, "highwater on "+h.Name()+" ended by itself")
		if word, err := crash(s.c.LogFile(h)); word != "" || err != nil {
			r.wrong = append(r.wrong, fmt.Sprintf("the log of highwater on %s has %q: %v", h, word, err))
		}
		if err := s.c.StartSupervisor(h); err != nil {
			return err
		}
	}
	if h.Server == nil || h.Server.Alive() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := h.Server.Start(ctx); err != nil {
		return fmt.Errorf("start the server of %s: %w", h, err)
	}
	return nil
}

// crash returns the word by which Go's runtime begins to tell of a bug, if a log has one.
func crash(log string) (string, error) {
	text, err := os.ReadFile(log)
	for _, word := range []string{"\npanic: ", "\nfatal error: ", "WARNING: DATA RACE"} {
		if strings.Contains(string(text), word) {
			return strings.TrimSpace(word), err
		}
	}
	return "", err
}

// help does what a host's operator would, and reports whether there was anything to do.
func (s *steward) help(ctx context.Context, h, primary *lab.Host, seen web.Host, r *round) (bool, error) {
	switch {
	case s.lasts(h, seen) && primary != nil:
		return true, s.rebuild(ctx, h, primary, seen, r)
	case slices.Contains(seen.Reasons, string(mysqlcheck.ReasonCrashLoop)):
		r.crashLoop = true
		r.notes = append(r.notes, h.Name()+" was in a crash loop")
		return true, restart(ctx, s.c, h) // it counts anew
	}
	return false, nil
}

// heldLimit is how long a host may be held before its operator sees that it will stay so.
const heldLimit = 6 * time.Second

// lasts reports whether a host is held, has said why, and will not be rebuilt by itself.
func (s *steward) lasts(h *lab.Host, seen web.Host) bool {
	since, was := s.held[h.Name()]
	switch {
	case !seen.Held || seen.Errant == "" || seen.HeldWhy == "" || strings.HasPrefix(seen.HeldWhy, string(election.CodeRebuilding)+":"):
		delete(s.held, h.Name())
	case !was:
		s.held[h.Name()] = time.Now()
	default:
		return time.Since(since) > heldLimit
	}
	return false
}

// rebuild replaces the data of a host that is held, as its operator would.
func (s *steward) rebuild(ctx context.Context, h, primary *lab.Host, seen web.Host, r *round) error {
	ctx, cancel := context.WithTimeout(ctx, rebuildLimit)
	defer cancel()
	r.rebuilt++
	why, _, _ := strings.Cut(seen.HeldWhy, ":")
	r.heldFor = append(r.heldFor, why)
	r.notes = append(r.notes, fmt.Sprintf("%s was held with %s: %s", h, seen.Errant, seen.HeldWhy))
	if h.Server.Config().Flavor.IsMariaDB() {
		return h.Reseed(ctx, primary)
	}
	out, err := s.c.Command(ctx, h, "rejoin", "--rebuild")
	if err != nil && strings.Contains(out+err.Error(), "one is under way") { // by itself, with lossless
		return nil
	}
	if err != nil {
		return fmt.Errorf("rebuild %s: %w: %s", h, err, out)
	}
	return nil
}

// calm is for how long all has to be well.
const calm = 500 * time.Millisecond

// healthy waits until every host says that all is well, and a look at the servers confirms it. It
// returns the status of the primary.
func (s *soaking) healthy(ctx context.Context, bound time.Duration, r *round) (web.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	var well time.Time
	helped := map[string]time.Time{}
	for {
		status, missing := s.look(ctx)
		switch {
		case missing != "":
			well = time.Time{}
		case well.IsZero():
			well = time.Now()
		case time.Since(well) >= calm:
			return status, nil
		}
		for _, h := range s.c.Supervised() {
			err := s.steward.tend(ctx, h, r)
			if seen := status.Host(h.Name()); err == nil && seen != nil && time.Since(helped[h.Name()]) > helpPause {
				var helps bool
				if helps, err = s.steward.help(ctx, h, s.c.Host(status.Primary), *seen, r); helps {
					helped[h.Name()] = time.Now()
				}
			}
			if err != nil {
				return status, err
			}
		}
		if pause(ctx, 50*time.Millisecond); ctx.Err() != nil {
			return status, fmt.Errorf("not healthy after %v: %s", bound, missing)
		}
	}
}

// helpPause is how long after its operator's help the status of a host may still tell of before.
const helpPause = 5 * time.Second

// look asks every host for its status, and every server what it is. It names what is missing, and
// returns the status of the primary, if there is one.
func (s *soaking) look(ctx context.Context) (found web.Status, missing string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, h := range s.c.Supervised() {
		status, err := s.c.Status(ctx, h)
		switch {
		case err != nil:
			missing = err.Error()
			continue
		case status.Level != web.LevelOK:
			missing = fmt.Sprintf("%s says: %s", h, status.Summary)
		}
		if status.Primary == h.Name() {
			found = status
		}
	}
	if missing != "" {
		return found, missing
	}
	if found.Primary == "" {
		return found, "nobody says that it is primary"
	}
	if l := found.Lossless; l != nil && (len(l.Synced) != len(s.c.Hosts())-1 || l.Alone || l.Change != "") {
		return found, fmt.Sprintf("not every replica acknowledges: %+v", *l)
	}
	carriers, err := s.c.Carriers(lab.VIP)
	if err != nil {
		return found, err.Error()
	}
	if len(carriers) != 1 || carriers[0].Name() != found.Primary {
		return found, fmt.Sprintf("the VIP is on %v, the primary is %s", carriers, found.Primary)
	}
	for _, h := range s.c.Hosts() {
		readOnly, err := h.Server.QueryString(ctx, "SELECT @@global.read_only")
		want := "1"
		if h.Name() == found.Primary {
			want = "0"
		}
		if err != nil || readOnly != want {
			return found, errors.Join(fmt.Errorf("read_only of %s is %q, want %s", h, readOnly, want), err).Error()
		}
	}
	return found, ""
}
