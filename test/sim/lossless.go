// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"time"

	"highwater/election"
	"highwater/promote"
)

// spareFetch is the time in which it tries to fetch what may be left behind.
const spareFetch = time.Second

// prepare makes this server hold all that a promotion needs, before the term is committed.
func (s *supervisor) prepare(a election.Establish) error {
	ctx := s.within(s.background(), promoteTimeout)
	srv := &s.host.server
	tried := s.host.clock().Add(spareFetch)
	for {
		if err := s.keeping.sql(ctx); err != nil {
			return err
		}
		if srv.id() != s.sealedStart {
			return errGone
		}
		srv.db.ApplyAll()
		if a.FetchFrom != "" {
			if from := s.w.host(a.FetchFrom); from.server.answers() && s.w.reaches(from, s.host) && s.w.reaches(s.host, from) {
				srv.fetch(from)
			}
		}
		if srv.db.Logged().Contains(s.missing) {
			return nil
		}
		if a.FetchFrom != "" && s.spares == a.Term && s.host.clock() > tried {
			s.forgone = a.Term
			return nil
		}
		s.w.running.sleep(20 * time.Millisecond)
	}
}

// lock is the beginning of a term in which nothing acknowledged may be lost: commits wait, and whoever must not
// acknowledge them cannot.
func (p *promotion) lock() {
	s := p.s
	s.start(func() {
		if err := s.lockAll(&span{Context: s.background(), s: s, token: p.action.Token}, p.in); err != nil {
			p.fail(err.Error())
			return
		}
		s.keeper.Opened(p.in, promote.Step{Name: promote.StepLocks})
		p.next(0, 5*time.Millisecond, p.open)
	})
}

func (s *supervisor) lockAll(ctx context.Context, in *promote.Lossless) error {
	k, db := s.keeping, s.host.server.db
	if err := k.EnableSource(ctx, in.Acks); err != nil {
		return err
	}
	if s.w.cfg.Mutation != NoLocks {
		for _, user := range in.Lock {
			if err := k.LockReplica(ctx, user); err != nil {
				return err
			}
		}
	}
	for _, user := range in.Unlock {
		if db.Locked(user) {
			if err := k.UnlockReplica(ctx, user); err != nil {
				return err
			}
		}
	}
	return nil
}

// rejoin points the server at the primary, and rebuilds it if it has transactions of which nobody can have been told.
func (s *supervisor) rejoin(a election.Follow) {
	ended := election.FollowEnded{Token: a.Token}
	defer func() {
		s.lookSoon()
		s.post(ended)
	}()
	ctx := &span{Context: s.background(), s: s, until: s.host.clock().Add(time.Minute), token: a.Token}
	if s.rebuilding {
		ended.Errant = s.verdict.errant.set().String()
		return
	}
	done, err := s.keeper.AwaitTurn(ctx, a.Node)
	if done {
		return
	}
	if err == nil {
		err = s.followOnce(ctx, a)
	}
	if errors.As(err, new(errantError)) { // or only younger than what was heard of the source
		s.w.running.sleep(2*s.w.cfg.Check + s.w.cfg.Interval + retransmit)
		err = s.followOnce(ctx, a)
	}
	var errant errantError
	switch {
	case errors.As(err, &errant):
		ended.Errant = errant.set().String()
		s.hold(a, errant.gap)
	case err != nil:
		ended.Err = err.Error()
	}
}

func (s *supervisor) followOnce(ctx context.Context, a election.Follow) error {
	step, end, err := s.keeping.take(ctx)
	if err != nil {
		return err
	}
	defer end()
	return s.followLossless(step, a.Node, a.Term, acksAsSet)
}

// hold decides what becomes of a server with errant transactions, as supervisor.rejoin does.
func (s *supervisor) hold(a election.Follow, errant gap) {
	srv, record := &s.host.server, s.voter.record
	before := srv.process() - 1
	led := srv.led[before]
	crashed := !srv.ended[before] && srv.boots[before] == s.host.boot
	if s.w.cfg.MariaDB || led == 0 || !crashed || record.Primary != a.Node || record.Term != a.Term || record.UntoldLast(s.host.name, led) != nil {
		return
	}
	s.rebuilding, srv.rebuilt = true, true
	s.w.tracef(s.host, "is rebuilt from %s without %v", a.Node, errant)
	s.after(s.w.between(500*time.Millisecond, 3*time.Second), func() {
		s.rebuilding = false
		donor := s.w.host(a.Node)
		view := s.machine.Status()
		if (view.Role != election.RoleHeld && view.Role != election.RoleReplica) || view.Primary != a.Node || !srv.answers() ||
			!donor.server.answers() || !s.w.reaches(donor, s.host) || !s.w.reaches(s.host, donor) {
			return
		}
		s.w.judgeUntold(s.host, errant)
		srv.kill()
		srv.rebuild(donor)
		s.host.after(s.w.between(100*time.Millisecond, time.Second), srv.start)
	})
}

// rebuild replaces the data by a copy of another host's.
func (s *server) rebuild(donor *host) {
	w := s.host.w
	s.db.Restore(donor.server.executed())
	s.db.CopyLocks(donor.server.db)
	if w.origins < len(w.told) {
		s.db.SetOrigin(w.origins)
		w.origins++
	}
}
