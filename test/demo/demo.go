// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"highwater/configs"
	"highwater/mysqlcheck"
	"highwater/supervisor/web"
	"highwater/test/cluster"
	"highwater/test/lab"
)

// How long the parts of the demonstration may take, or last.
const (
	setUpLimit  = 2 * time.Minute // on a busy machine the servers take their time
	moveLimit   = 45 * time.Second
	returnLimit = 45 * time.Second
	writeBefore = 2 * time.Second
	writeAfter  = time.Second
	settle      = 500 * time.Millisecond // after the move, for what follows it
)

// story is a demonstration under way.
type story struct {
	*printer
	o   options
	f   fault
	c   *cluster.Cluster
	old *lab.Host // primary before the fault
	new *lab.Host // after it

	watch   *watch
	inside  *lab.Writer   // clients on the old primary, where the fault has such
	at      time.Duration // of the fault, CLOCK_BOOTTIME
	outage  lab.Outage
	records []*lab.Record
	bad     []string // why this is no success

	restarted bool // the old primary's server ended after the fault, and was started again
}

// demonstrate tells the whole story of one fault.
func demonstrate(ctx context.Context, o options, f fault, p *printer) (err error) {
	s := &story{printer: p, o: o, f: f}
	if s.c, err = setUp(ctx, o, p); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.c.Close()) }()
	s.watch = startWatch(s.c)
	defer func() { err = errors.Join(err, s.watch.stop()) }()
	defer func() {
		if s.inside != nil {
			s.inside.Stop()
		}
	}()
	s.old = s.c.Hosts()[0]
	for _, act := range []func(context.Context) error{s.breakIt, s.comeBack, s.verdict} {
		if err := act(ctx); err != nil {
			s.evidence(ctx)
			return err
		}
	}
	return nil
}

// setUp builds the cluster and shows it.
func setUp(ctx context.Context, o options, p *printer) (*cluster.Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, setUpLimit)
	defer cancel()
	commits := "semi-synchronous: a commit waits until a replica has received it"
	switch {
	case o.durability == configs.Lossless:
		commits = "semi-synchronous, which is highwater's business (durability: lossless): a commit waits until a replica has received it"
	case !o.semiSync:
		commits = p.paint(sgrYellow, "asynchronous: a failover may lose what no replica had received; the rows lost are counted")
	}
	p.line("cluster", "3 hosts, one switch; %s, replication %s", o.flavor, commits)
	config := cluster.Config{
		Lab:            lab.Config{Hosts: 3, Flavor: o.flavor, SemiSync: o.semiSync},
		Binary:         o.binary,
		Authority:      o.authority,
		Durability:     o.durability,
		AdvertInterval: 200 * time.Millisecond, CheckInterval: 100 * time.Millisecond,
		// A commit that waits for an acknowledgement lets no server become read-only.
		KillServer: true,
	}
	p.line("", "authority %s, durability %s, an advert each 200 ms, a check each 100 ms with 1 s to answer, a lease of 3 s", o.authority, o.durability)
	p.line("", "a deposed server that does not become read-only within 5 s is killed (fencing.kill_server)")
	var c *cluster.Cluster
	err := p.doing("set-up", "three hosts with a server each, db2 and db3 replicating from db1", func() (err error) {
		c, err = cluster.New(ctx, config)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = p.doing("", fmt.Sprintf("highwater on each of them, until db1 carries %s and all is well", lab.VIP), func() error {
		return errors.Join(c.StartAll(ctx), awaitHealthy(ctx, c, c.Hosts()[0]))
	})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := showStatus(ctx, c, c.Hosts()[0], p); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// awaitHealthy waits until a host has nothing to complain of.
func awaitHealthy(ctx context.Context, c *cluster.Cluster, h *lab.Host) error {
	for {
		status, err := c.Status(ctx, h)
		if err == nil && status.Level == web.LevelOK {
			return nil
		}
		if waited := pause(ctx, 50*time.Millisecond); waited != nil {
			return errors.Join(fmt.Errorf("wait until all is well (last seen: %s): %w", status.Summary, waited), err)
		}
	}
}

// showStatus prints the cluster as a host sees it.
func showStatus(ctx context.Context, c *cluster.Cluster, h *lab.Host, p *printer) error {
	status, err := c.Status(ctx, h)
	if err != nil {
		return err
	}
	var text strings.Builder
	if err := status.Table(&text, p.color); err != nil {
		return err
	}
	p.blank()
	p.line("status", "%s", text.String())
	p.blank()
	return nil
}

// breakIt has clients write, breaks the primary, and shows what happened.
func (s *story) breakIt(ctx context.Context) error {
	w, err := s.write(ctx)
	if err != nil {
		return err
	}
	defer w.Stop()
	if err := pause(ctx, writeBefore); err != nil {
		return err
	}
	s.line("write", "4 clients insert rows through %s: %s", lab.VIP, count(len(w.Record().Acks), "row acknowledged", "rows acknowledged so far"))

	if s.f.inside {
		if s.inside, err = s.old.StartWriter(lab.WriterConfig{}); err != nil {
			return err
		}
		s.line("", "4 more do so on %s itself", s.old)
	}

	what := fmt.Sprintf(s.f.what, s.old)
	s.begin("fault", "%s", what)
	s.at = mysqlcheck.Boottime()
	if err := s.f.begin(ctx, s.c, s.old); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := s.awaitPrimary(ctx); err != nil {
		return err
	}
	if s.new == s.old {
		s.done("%s stays primary", s.new)
	} else {
		s.done("%s is primary", s.paint(sgrGreen, s.new.Name()))
	}
	if err := pause(ctx, writeAfter); err != nil {
		return err
	}
	record := w.Stop()
	s.records = append(s.records, record)
	if err := s.timeline(what, record); err != nil {
		return err
	}
	return s.account(ctx, record)
}

func (s *story) write(ctx context.Context) (*lab.Writer, error) {
	w, err := s.c.Client().StartWriter(lab.WriterConfig{})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := w.WaitAcknowledged(ctx); err != nil {
		w.Stop()
		return nil, err
	}
	return w, nil
}

// awaitPrimary waits for the primary after the fault: another host, unless nothing is to move.
func (s *story) awaitPrimary(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, moveLimit)
	defer cancel()
	name := s.old.Name()
	for s.f.moves && name == s.old.Name() {
		for _, h := range s.c.Hosts() {
			if h == s.old {
				continue
			}
			if status, err := s.c.Status(ctx, h); err == nil && status.Host(h.Name()).Role == "primary" {
				name = h.Name()
			}
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("nobody took over: %w", err)
		}
	}
	if _, err := s.c.WaitPrimary(ctx, name); err != nil {
		return err
	}
	s.new = s.c.Host(name)
	return pause(ctx, settle)
}

// timeline shows the way of the role to its new host.
func (s *story) timeline(what string, record *lab.Record) error {
	marks, err := journalMarks(s.c, s.at, s.c.Hosts()...)
	if err != nil {
		return err
	}
	seen, double := s.watch.seen(s.at)
	marks = append(append(marks, seen...), mark{at: s.at, host: s.old.Name(), text: what, sgr: sgrRed})
	s.outage = outageAfter(record, s.at)
	for _, a := range record.Acks {
		switch a.Acked {
		case s.outage.From:
			marks = append(marks, mark{at: a.Acked, host: "client", text: fmt.Sprintf("last row acknowledged, by %s", a.Server)})
		case s.outage.To:
			marks = append(marks, mark{
				at: a.Acked, host: "client", sgr: sgrGreen,
				text: fmt.Sprintf("first row acknowledged, by %s", a.Server),
			})
		}
	}
	s.blank()
	show(s.printer, "timeline", marks, s.at)
	s.blank()
	s.line("outage", "%s without an acknowledged row, for 4 clients that reconnect at once", s.paint(sgrBold, short(s.outage.Duration())))
	if double > 0 {
		text := "two hosts have carried the VIP for " + short(double)
		if s.f.double != "" {
			text += ", " + s.f.double
		}
		s.line("", "%s", s.paint(sgrYellow, text))
	}
	return nil
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
