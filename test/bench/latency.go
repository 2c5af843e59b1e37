// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"highwater/test/lab"
)

// A pair is what a client measured through the VIP of the same running servers, once with supervisors and once
// without any.
type pair struct {
	System string `json:"system"`
	Run    int    `json:"run"`
	// Primary is the server of both halves.
	Primary string `json:"primary"`
	// WithFirst says which half came first.
	WithFirst bool    `json:"with_first"`
	With      half    `json:"with"`
	Without   half    `json:"without"`
	Load      float64 `json:"load_average"`
	// Disturbed are the attempts at it that do not count, and why.
	Disturbed []string `json:"disturbed,omitempty"`
}

// half is the commit latency of one client, in seconds.
type half struct {
	Commits int     `json:"commits"`
	Median  float64 `json:"median_seconds"`
	P99     float64 `json:"p99_seconds"`
	primary *lab.Host
	path    map[string]string // see commitPath
}

const (
	// warmUpCommits is how long a client commits before its commits count.
	warmUpCommits = 500 * time.Millisecond
	// thinkTime is what the client waits between two commits. It is not zero: a client that keeps both cores busy
	// would measure the scheduler.
	thinkTime = time.Millisecond
	// mostDisturbed is how many attempts at pairs may be disturbed, of each system.
	mostDisturbed = 5
)

// supervised reports whether there is a point in measuring commits with a system and without: it has supervisors, and
// no other one differs from it only in what happens to a failed primary.
func (s system) supervised() bool { return s.commits != "" }

// measureLatency measures one system after the other.
func measureLatency(ctx context.Context, o options, log io.Writer) ([]pair, error) {
	var all []pair
	for _, s := range o.systems {
		if !s.supervised() {
			continue
		}
		pairs, err := latencyOf(ctx, o, s, log)
		all = append(all, pairs...)
		if err != nil {
			return all, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return all, nil
}

// latencyOf measures one system: what it returns with an error was measured before that. After a pair that does not
// count it goes on in a new lab: something else happened in one of its halves, as when the machine is so busy that
// Highwater takes the primary for hung.
func latencyOf(ctx context.Context, o options, s system, log io.Writer) ([]pair, error) {
	var pairs []pair
	var disturbed []string // attempts at the next pair
	for lost := 0; len(pairs) < o.runs; lost++ {
		var disturbance error
		err := inLab(ctx, o, s, func(r *reins) {
			for len(pairs) < o.runs {
				began := time.Now()
				p := pair{System: s.name, Run: len(pairs) + 1, Load: loadAverage(), Disturbed: disturbed}
				if disturbance = p.measure(ctx, o, r); disturbance != nil {
					return
				}
				pairs, disturbed = append(pairs, p), nil
				fmt.Fprintf(log, "%3d/%d  %-18s %-18s %s  (%.0f s)\n", p.Run, o.runs, latencyName, s.name, p.line(), time.Since(began).Seconds())
			}
		})
		switch {
		case ctx.Err() != nil:
			return pairs, context.Cause(ctx)
		case err != nil:
			return pairs, err
		case disturbance == nil:
		case lost == mostDisturbed:
			return pairs, fmt.Errorf("pair %d: %w", len(pairs)+1, disturbance)
		default:
			disturbed = append(disturbed, disturbance.Error())
			fmt.Fprintf(log, "%3d/%d  %-18s %-18s does not count: %v\n", len(pairs)+1, o.runs, latencyName, s.name, disturbance)
		}
	}
	return pairs, nil
}

// inLab makes a lab of a system, and removes it afterwards.
func inLab(ctx context.Context, o options, s system, do func(*reins)) (err error) {
	setUp, cancel := context.WithTimeout(ctx, setUpLimit)
	defer cancel()
	bed, err := s.open(setUp, o, settings{async: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bed.Close()) }()
	if o.logs != "" {
		defer func() { err = errors.Join(err, keepLogs(bed, filepath.Join(o.logs, latencyName+"-"+s.name))) }()
	}
	do(&reins{cluster: bed.(highwater)})
	return nil
}

// measure measures both halves, in random order and on the same primary.
func (p *pair) measure(ctx context.Context, o options, r *reins) error {
	p.WithFirst = rand.N(2) == 0
	first, err := r.half(ctx, o, p.WithFirst)
	if err != nil {
		return err
	}
	second, err := r.half(ctx, o, !p.WithFirst)
	if err != nil {
		return err
	}
	if first.primary != second.primary {
		return fmt.Errorf("%s was primary, then %s", first.primary, second.primary)
	}
	if changed := differ(first.path, second.path); len(changed) > 0 {
		return fmt.Errorf("the servers were not set alike in both halves: %s", strings.Join(changed, "; "))
	}
	p.Primary = first.primary.Name()
	p.With, p.Without = first, second
	if !p.WithFirst {
		p.With, p.Without = second, first
	}
	return nil
}

// ratio and ratioP99 are how much longer commits took with supervisors.
func (p pair) ratio() float64 { return p.With.Median / p.Without.Median }

func (p pair) ratioP99() float64 { return p.With.P99 / p.Without.P99 }

// line is the pair for the log.
func (p pair) line() string {
	return fmt.Sprintf("with %s, without %s, ratio of medians %.3f", p.With, p.Without, p.ratio())
}

// String is its median and p99.
func (h half) String() string {
	return fmt.Sprintf("%s (p99 %s)", milliseconds(h.Median), milliseconds(h.P99))
}

// reins are the supervisors of a cluster, all of which run or none.
type reins struct {
	cluster highwater
	primary *lab.Host // who carries the VIP; nil before the first half
	held    bool      // they run
}

// half measures with supervisors or without.
func (r *reins) half(ctx context.Context, o options, with bool) (half, error) {
	limited, cancel := context.WithTimeout(ctx, setUpLimit+o.latencyFor)
	defer cancel()
	// The supervisors alone make a lossless cluster: the first time they run before it is done without them.
	if with || r.primary == nil {
		if err := r.take(limited); err != nil {
			return half{}, fmt.Errorf("start the supervisors: %w", err)
		}
	}
	if !with {
		if err := r.drop(limited); err != nil {
			return half{}, fmt.Errorf("go on without supervisors: %w", err)
		}
	}
	before, err := r.rest(limited)
	if err != nil {
		return half{}, err
	}
	h, err := r.commit(ctx, o.latencyFor)
	if err != nil {
		return half{}, err
	}
	if h.path, err = commitPath(limited, r.cluster.Hosts()); err != nil {
		return half{}, err
	}
	if changed := differ(before, h.path); len(changed) > 0 {
		return half{}, fmt.Errorf("the servers were set anew under load: %s", strings.Join(changed, "; "))
	}
	h.primary = r.primary
	// What replicas have yet to apply must not burden the next half.
	return h, r.cluster.WaitReplicas(limited, r.primary, r.cluster.Hosts()...)
}

// take starts the supervisors, unless they run, and waits until one host is primary, the others follow it, and in a
// lossless cluster all of them may acknowledge.
func (r *reins) take(ctx context.Context) error {
	if r.held {
		return nil
	}
	c := r.cluster
	if r.primary != nil {
		if _, err := r.primary.Run(ctx, "ip", "address", "del", vip, "dev", lab.Interface); err != nil {
			return err
		}
	}
	for _, h := range c.Hosts() {
		if err := c.StartSupervisor(h); err != nil {
			return err
		}
	}
	r.held = true
	err := await(ctx, "a primary that everybody follows", func() (bool, error) {
		s, err := c.WaitPrimary(ctx, "")
		if err != nil {
			return false, err
		}
		r.primary = c.Host(s.Primary)
		l := s.Lossless
		return l == nil || len(l.Synced) == len(c.Hosts())-1 && l.Change == "", nil
	})
	if err != nil {
		return err
	}
	_, err = r.rest(ctx)
	return err
}

// rest waits until nothing has changed at the servers for a while, and returns how they are set. Who has just entered
// S, and is to end, must not be in the middle of it.
func (r *reins) rest(ctx context.Context) (map[string]string, error) {
	var last map[string]string
	for {
		path, err := commitPath(ctx, r.cluster.Hosts())
		if err != nil || last != nil && len(differ(last, path)) == 0 {
			return path, err
		}
		last = path
		if err := sleep(ctx, settle); err != nil {
			return nil, fmt.Errorf("wait for the servers to be left alone: %w", err)
		}
	}
}

// drop ends the supervisors, which leave the servers as they are, and has the primary keep the VIP by hand: for good,
// and without the fence that nobody opens any more.
func (r *reins) drop(ctx context.Context) error {
	if !r.held {
		return nil
	}
	c := r.cluster
	var errs []error
	for _, h := range c.Hosts() {
		errs = append(errs, c.Supervisor(h).Signal(syscall.SIGTERM))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, h := range c.Hosts() {
		select {
		case <-c.Supervisor(h).Done():
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of the supervisor of %s: %w", h, ctx.Err())
		}
	}
	r.held = false
	if _, err := r.primary.Run(ctx, "ip", "address", "replace", vip, "dev", lab.Interface,
		"valid_lft", "forever", "preferred_lft", "forever"); err != nil {
		return err
	}
	_, err := r.primary.Run(ctx, "nft", "flush", "ruleset") // the hosts of a lab have no other rules
	return err
}

// vip is the address as ip(8) takes it.
var vip = lab.VIP.String() + "/32"

// commit has one client commit rows through the VIP, one after the other.
func (r *reins) commit(ctx context.Context, during time.Duration) (half, error) {
	w, err := r.cluster.Client().StartWriter(lab.WriterConfig{Clients: 1, Pause: thinkTime})
	if err != nil {
		return half{}, err
	}
	defer w.Stop()
	if err := sleep(ctx, warmUpCommits+during); err != nil {
		return half{}, err
	}
	record := w.Stop()
	if record.Errors > 0 {
		return half{}, fmt.Errorf("the client got %d errors, the last: %w", record.Errors, record.LastError)
	}
	var took []float64
	for _, a := range record.Acks {
		if a.Server != r.primary.Name() {
			return half{}, fmt.Errorf("%s acknowledged, not %s", a.Server, r.primary)
		}
		if a.Sent >= record.Started+warmUpCommits {
			took = append(took, (a.Acked - a.Sent).Seconds())
		}
	}
	if len(took) == 0 {
		return half{}, errors.New("nothing was committed")
	}
	slices.Sort(took)
	return half{Commits: len(took), Median: median(took), P99: quantile(took, 0.99)}, nil
}

// commitPath is all that servers are set to, and whether they acknowledge and wait for that: what the latency of a
// commit depends on. Left out is what commits change.
func commitPath(ctx context.Context, hosts []*lab.Host) (map[string]string, error) {
	path := map[string]string{}
	for _, h := range hosts {
		for _, query := range []string{
			`SHOW GLOBAL VARIABLES WHERE Variable_name NOT IN ('gtid_executed', 'gtid_owned', 'gtid_purged')`,
			`SHOW GLOBAL STATUS WHERE Variable_name IN
				('Rpl_semi_sync_source_status', 'Rpl_semi_sync_source_clients', 'Rpl_semi_sync_replica_status')`,
		} {
			if err := readPairs(ctx, h, query, path); err != nil {
				return nil, fmt.Errorf("read the settings of %s: %w", h, err)
			}
		}
	}
	return path, nil
}

// readPairs adds the rows of a query for names and values.
func readPairs(ctx context.Context, h *lab.Host, query string, to map[string]string) error {
	rows, err := h.Server.DB().QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return err
		}
		to[h.Name()+" "+name] = value
	}
	return rows.Err()
}

// differ names what is not the same in both.
func differ(a, b map[string]string) []string {
	names := maps.Clone(a)
	maps.Copy(names, b)
	var changed []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if a[name] != b[name] {
			changed = append(changed, fmt.Sprintf("%s: %q, then %q", name, a[name], b[name]))
		}
	}
	return changed
}
