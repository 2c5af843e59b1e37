// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"highwater/supervisor/web"
	"highwater/test/cluster"
	"highwater/test/lab"
)

// rig is a cluster under test.
type rig struct {
	*cluster.Cluster
	t        *testing.T
	ctx      context.Context // the deadline of the whole test
	observer *observer
	overlaps bool // a host that is cut off or frozen may carry the VIP until its lease ends
}

// testTimeout bounds one test: a hang must not cost the others their time.
const testTimeout = 90 * time.Second

// Settings of the tests: quicker than the defaults, and patient enough for a busy machine.
func settings(c cluster.Config) cluster.Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&c.AdvertInterval, 250*time.Millisecond)
	set(&c.CheckInterval, 100*time.Millisecond)
	set(&c.CheckTimeout, 1500*time.Millisecond)
	set(&c.CommitTimeout, 2*time.Second)
	set(&c.Lease, 3*time.Second)
	set(&c.FenceTimeout, time.Second)
	if c.LogLevel == "" {
		c.LogLevel = "debug"
	}
	if c.Authority == "" {
		c.Authority = os.Getenv("HIGHWATER_E2E_AUTHORITY")
	}
	return c
}

// semiSync is a cluster of three MySQL hosts that wait for an acknowledgement: with it no
// acknowledged row is lost although durability is best-effort. A deposed primary whose
// commits wait for ever obeys nobody, so it may be killed.
func semiSync() cluster.Config {
	return cluster.Config{Lab: lab.Config{Hosts: 3, Flavor: lab.MySQL, SemiSync: true}, KillServer: true}
}

// async is the same without acknowledgements: a fault may lose the last rows.
func async() cluster.Config {
	return cluster.Config{Lab: lab.Config{Hosts: 3, Flavor: lab.MySQL}}
}

// prepare makes the cluster and starts no supervisor yet.
func prepare(t *testing.T, c cluster.Config) *rig {
	t.Helper()
	lab.Require(t, "root", string(c.Lab.Flavor))
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	if c.Binary == "" {
		c.Binary = binary
	}
	cl, err := cluster.New(ctx, settings(c))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Cluster: cl, t: t, ctx: ctx, observer: observe(cl.Lab, lab.VIP)}
	t.Cleanup(func() {
		r.observer.stop()
		r.keepLogs()
		if err := cl.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	return r
}

// start makes the cluster with every supervisor running and db1 primary.
func start(t *testing.T, c cluster.Config) *rig {
	t.Helper()
	r := prepare(t, c)
	ctx, cancel := context.WithTimeout(r.ctx, 20*time.Second)
	defer cancel()
	r.must(r.StartAll(ctx))
	return r
}

// keepLogs copies logs and journals to HIGHWATER_E2E_LOGS; without it, it shows the end of
// the logs of a failed test.
func (r *rig) keepLogs() {
	keep := os.Getenv("HIGHWATER_E2E_LOGS")
	if !r.t.Failed() && keep == "" {
		return
	}
	for _, h := range r.Hosts() {
		if keep == "" {
			text, _ := os.ReadFile(r.LogFile(h)) // without one there is nothing to show
			lines := strings.Split(strings.TrimSpace(string(text)), "\n")
			r.t.Logf("log of %s:\n%s", h, strings.Join(lines[max(0, len(lines)-40):], "\n"))
			continue
		}
		dir := filepath.Join(keep, strings.ReplaceAll(r.t.Name(), "/", "-"), h.Name())
		if err := os.RemoveAll(dir); err != nil {
			r.t.Log(err)
		}
		for _, from := range []string{filepath.Dir(r.LogFile(h)), r.StateDir(h)} {
			if err := copyFiles(dir, from); err != nil {
				r.t.Log(err)
			}
		}
		text, err := os.ReadFile(h.Server.LogPath())
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "server.log"), text, 0o600)
		}
		if err != nil {
			r.t.Log(err)
		}
	}
}

func copyFiles(to, from string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) db(n int) *lab.Host { return r.Hosts()[n-1] }

// write starts the clients and returns once they are being served.
func (r *rig) write() *lab.Writer {
	r.t.Helper()
	w := r.writer(lab.WriterConfig{})
	ctx, cancel := context.WithTimeout(r.ctx, 20*time.Second)
	defer cancel()
	r.must(w.WaitAcknowledged(ctx))
	r.pause(300 * time.Millisecond)
	return w
}

// writer starts clients that end with the test at the latest.
func (r *rig) writer(c lab.WriterConfig) *lab.Writer {
	r.t.Helper()
	w, err := r.Client().StartWriter(c)
	r.must(err)
	r.t.Cleanup(func() { w.Stop() })
	return w
}

// powerOff and powerOn switch a host while nobody looks at it.
func (r *rig) powerOff(h *lab.Host) {
	r.t.Helper()
	r.observer.looking.Lock()
	defer r.observer.looking.Unlock()
	r.must(h.PowerOff())
}

func (r *rig) powerOn(h *lab.Host) {
	r.t.Helper()
	r.observer.looking.Lock()
	err := h.PowerOn(r.ctx)
	r.observer.looking.Unlock()
	r.must(err)
	r.must(r.StartSupervisor(h))
}

func (r *rig) pause(d time.Duration) {
	r.t.Helper()
	select {
	case <-time.After(d):
	case <-r.ctx.Done():
		r.t.Fatal(r.ctx.Err())
	}
}

// eventually waits until ok returns "", which otherwise is what is still missing.
func (r *rig) eventually(within time.Duration, ok func() string) {
	r.t.Helper()
	deadline := time.Now().Add(within)
	for {
		missing := ok()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) || r.ctx.Err() != nil {
			r.t.Fatalf("after %v: %s", within, missing)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// leaseTime is how long after its last renewal a VIP may be seen at most: the lease, the
// kernel's grain, and patience with a busy machine.
const leaseTime = 3*time.Second + 1500*time.Millisecond + 2*time.Second

// moveTime is the longest that a move of the primary may take in these tests, on a machine
// that does other things too. What it takes is logged.
const moveTime = 20 * time.Second

// moved waits until a host other than old is primary, and returns it.
func (r *rig) moved(old *lab.Host) *lab.Host {
	r.t.Helper()
	var primary *lab.Host
	r.eventually(moveTime, func() string {
		for _, h := range r.Hosts() {
			if h == old || !h.On() {
				continue
			}
			s, err := r.Status(r.ctx, h)
			if err == nil && s.Primary == h.Name() && s.Host(h.Name()).Role == "primary" {
				primary = h
				return ""
			}
		}
		return fmt.Sprintf("nobody but %s is primary", old)
	})
	return primary
}

// elected waits until some host is primary and everybody else agrees, and returns it.
func (r *rig) elected() *lab.Host {
	r.t.Helper()
	var primary *lab.Host
	r.eventually(2*moveTime, func() string {
		var missing []string
		for _, h := range r.Hosts() {
			s, err := r.Status(r.ctx, h)
			if err != nil {
				missing = append(missing, err.Error())
				continue
			}
			m := r.unsettled(s, h)
			if m == "" {
				primary = h
				return ""
			}
			missing = append(missing, m)
		}
		return strings.Join(missing, "; ")
	})
	return primary
}

// stays watches for a while that nothing moves: db1 is primary and carries the VIP alone.
func (r *rig) stays(d time.Duration) {
	r.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); r.pause(100 * time.Millisecond) {
		if c := r.carriers(); len(c) != 1 || c[0] != "db1" {
			r.t.Fatalf("the VIP is on %v, want db1 to keep it", c)
		}
	}
	s, err := r.Status(r.ctx, r.db(1))
	r.must(err)
	// The term may rise: a candidate that withdrew has promised a higher one.
	if s.Primary != "db1" {
		r.t.Fatalf("something moved: %s is primary of term %d", s.Primary, s.Term)
	}
}

// settled waits until primary carries the VIP alone and every other host follows it or is
// held, and returns the status that says so.
func (r *rig) settled(primary *lab.Host) web.Status {
	r.t.Helper()
	var s web.Status
	r.eventually(moveTime, func() string {
		var err error
		if s, err = r.Status(r.ctx, primary); err != nil {
			return err.Error()
		}
		return r.unsettled(s, primary)
	})
	return s
}

// unsettled names what is not as it should be, "" when all is well.
func (r *rig) unsettled(s web.Status, primary *lab.Host) string {
	if p := s.Host(primary.Name()); s.Primary != primary.Name() || p.Role != "primary" || !p.VIPHeld || !p.Writable {
		return fmt.Sprintf("%s is not primary: %s", primary, s.Summary)
	}
	carriers, err := r.Carriers(lab.VIP)
	if err != nil {
		return err.Error()
	}
	if len(carriers) != 1 || carriers[0] != primary {
		return fmt.Sprintf("the VIP is on %v, want %s", carriers, primary)
	}
	for _, h := range r.Hosts() {
		if h == primary || !h.On() {
			continue
		}
		if missing := r.follows(s.Host(h.Name()), h, primary); missing != "" {
			return missing
		}
	}
	return ""
}

// follows names what host h lacks as a replica of the primary.
func (r *rig) follows(seen *web.Host, h, primary *lab.Host) string {
	if !h.Server.Alive() {
		return ""
	}
	ctx, cancel := context.WithTimeout(r.ctx, time.Second)
	defer cancel()
	readOnly, err := h.Server.QueryString(ctx, "SELECT @@global.read_only")
	switch {
	case err != nil:
		return fmt.Sprintf("the server of %s: %v", h, err)
	case readOnly != "1":
		return fmt.Sprintf("the server of %s is writable", h)
	case seen.Held && seen.Errant == "":
		return fmt.Sprintf("%s is held and does not say why", h)
	case seen.Held:
		return ""
	case !seen.Up:
		return fmt.Sprintf("%s is not heard", h)
	case seen.Source != primary.Name() || !seen.Replicating:
		return fmt.Sprintf("%s does not follow %s: %+v", h, primary, *seen)
	}
	return ""
}

// end stops the clients and asks the questions of this package. moves is how often the
// primary may have moved.
func (r *rig) end(w *lab.Writer, primary *lab.Host, moves int) *lab.Record {
	r.t.Helper()
	s := r.settled(primary)
	r.eventually(moveTime, func() string {
		record := w.Record()
		if n := len(record.Acks); n == 0 || record.Acks[n-1].Server != primary.Name() {
			return fmt.Sprintf("the clients do not write to %s: %d rows acknowledged, last error %v", primary, n, record.LastError)
		}
		return ""
	})
	record := w.Stop()
	difference, err := record.Verify(r.ctx, primary.Server)
	r.must(err)
	if !difference.OK() {
		r.t.Errorf("rows on %s: %v", primary, difference)
	}
	if terms := record.Terms(); len(terms) > moves+1 {
		r.t.Errorf("servers acknowledged in turns: %d terms after at most %d moves: %+v", len(terms), moves, terms)
	}
	var replicas []*lab.Host
	for _, h := range r.Hosts() {
		if h != primary && h.On() && h.Server.Alive() && !s.Host(h.Name()).Held {
			replicas = append(replicas, h)
		}
	}
	r.must(r.WaitReplicas(r.ctx, primary, replicas...))
	r.observer.stop()
	for _, v := range r.observer.violations() {
		r.t.Error(v)
	}
	if o := r.observer.overlaps(); len(o) > 0 && !r.overlaps {
		r.t.Errorf("two hosts carried the VIP at one time: %v", o)
	}
	r.t.Logf("outage %v; %d rows acknowledged, %d of unknown fate, %d errors", record.Outage().Duration().Round(time.Millisecond),
		len(record.Acks), len(record.Unknown), record.Errors)
	return record
}

// revive waits until a server that was deposed is read-only, and starts it where it was
// killed for that, as a service manager would.
func (r *rig) revive(h *lab.Host) {
	r.t.Helper()
	r.eventually(moveTime, func() string {
		if !h.Server.Alive() {
			r.must(h.Server.Start(r.ctx))
			return ""
		}
		ctx, cancel := context.WithTimeout(r.ctx, time.Second)
		defer cancel()
		if readOnly, err := h.Server.QueryString(ctx, "SELECT @@global.read_only"); err != nil || readOnly != "1" {
			return fmt.Sprintf("the server of %s is neither read-only nor dead: %v", h, err)
		}
		return ""
	})
}

// carriers are the names of the hosts that carry the VIP.
func (r *rig) carriers() []string {
	r.t.Helper()
	hosts, err := r.Carriers(lab.VIP)
	r.must(err)
	var names []string
	for _, h := range hosts {
		names = append(names, h.Name())
	}
	return names
}

// without waits until a host carries the VIP no more.
func (r *rig) without(h *lab.Host, within time.Duration) {
	r.t.Helper()
	r.eventually(within, func() string {
		if slices.Contains(r.carriers(), h.Name()) {
			return fmt.Sprintf("%s carries the VIP", h)
		}
		return ""
	})
}

// logged waits until a host's supervisor has logged text.
func (r *rig) logged(h *lab.Host, text string, within time.Duration) {
	r.t.Helper()
	r.eventually(within, func() string {
		if r.times(h, text) > 0 {
			return ""
		}
		return fmt.Sprintf("the log of %s has no %q", h, text)
	})
}

// times is how often a host's supervisor has logged text.
func (r *rig) times(h *lab.Host, text string) int {
	r.t.Helper()
	b, err := os.ReadFile(r.LogFile(h))
	r.must(err)
	return strings.Count(string(b), text)
}
