// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"highwater/promote"
)

// errGone is that of a statement whose server has ended, or whose connection has.
var errGone = errors.New("the connection is gone")

// sql is one statement: when it returns nil the server carries it out.
func (k *keeperHost) sql(ctx context.Context) error {
	s, w := k.s, k.s.w
	srv := &s.host.server
	process := srv.process()
	d := w.between(100*time.Microsecond, 2*time.Millisecond)
	if w.chance(0.03) {
		d = w.between(2*time.Millisecond, 60*time.Millisecond)
	}
	w.running.sleep(d + w.between(0, srv.slow))
	for ctx.Err() == nil {
		switch {
		case !srv.up() || srv.process() != process:
			return errGone
		case srv.answers():
			return nil
		}
		w.running.sleep(10 * time.Millisecond)
	}
	return ctx.Err()
}

// take is the beginning of an operation that gives way to seals, promotions and demotions, one at a time. The function
// that it returns is to be called before each of its steps.
func (k *keeperHost) take(ctx context.Context) (step func() error, end func(), err error) {
	s := k.s
	for k.turn != nil && !k.turn.over {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		s.w.running.sleep(time.Millisecond)
	}
	k.turn = s.w.running
	attempt := s.interrupts
	step = func() error {
		if err := k.sql(ctx); err != nil {
			return err
		}
		if s.interrupts != attempt {
			return context.Canceled
		}
		return nil
	}
	return step, func() { k.turn = nil }, nil
}

func (k *keeperHost) FollowAcknowledging(ctx context.Context, primary string, term uint64) error {
	step, end, err := k.take(ctx)
	if err != nil {
		return err
	}
	defer end()
	return k.s.followLossless(step, primary, term, acksAlways)
}

func (k *keeperHost) AcknowledgeReceived(ctx context.Context, _ string, _ uint64) error {
	step, end, err := k.take(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := step(); err != nil {
		return err
	}
	db := k.s.host.server.db
	db.ApplyAll()
	if src := k.s.host.server.source(); src == nil || !k.s.w.reaches(src, k.s.host) || !k.s.w.reaches(k.s.host, src) || !src.server.answers() {
		return errGone
	} else if db.AcknowledgeReceived() {
		src.server.tell()
	}
	return nil
}

func (k *keeperHost) Durability(ctx context.Context) (promote.Durability, error) {
	if err := k.sql(ctx); err != nil {
		return promote.Durability{}, err
	}
	return promote.Durability{StartID: k.s.host.server.id()}, nil
}

func (k *keeperHost) Relaxed() (promote.Relaxed, error)                   { return promote.Relaxed{}, nil }
func (k *keeperHost) NoteRelaxed(promote.Relaxed) error                   { return nil }
func (k *keeperHost) ForeignAckers(ctx context.Context, _ []string) error { return k.sql(ctx) }

func (k *keeperHost) NoteRun(start string, led uint64) error {
	srv := &k.s.host.server
	if start == srv.id() {
		srv.led[srv.process()] = led
	}
	return nil
}

func (k *keeperHost) SourceState(ctx context.Context) (promote.SourceState, error) {
	if err := k.sql(ctx); err != nil {
		return promote.SourceState{}, err
	}
	st := k.s.host.server.db.SourceState()
	return promote.SourceState{
		Loaded: true, Enabled: st.Enabled, Active: st.Enabled, Acks: st.Acks, Forever: true, AfterSync: true, WaitNoReplica: true,
		Clients: st.Clients, Waiting: st.Waiting, Acknowledged: st.Acknowledged,
	}, nil
}

func (k *keeperHost) EnableSource(ctx context.Context, acks int) error {
	return k.set(ctx, func() { k.s.host.server.db.EnableSource(acks) })
}

func (k *keeperHost) SetAcks(ctx context.Context, acks int) error {
	return k.set(ctx, func() { k.s.host.server.db.SetAcks(acks) })
}

func (k *keeperHost) DisableSource(ctx context.Context) error {
	return k.set(ctx, func() { k.s.host.server.db.DisableSource() })
}

// set changes a setting, which is then read back.
func (k *keeperHost) set(ctx context.Context, change func()) error {
	if err := k.sql(ctx); err != nil {
		return err
	}
	change()
	k.s.host.server.tell()
	return k.sql(ctx)
}

func (k *keeperHost) LockReplica(ctx context.Context, user string) error {
	db := k.s.host.server.db
	if k.s.w.cfg.Mutation != KillWithoutLock {
		if err := k.set(ctx, func() { db.Lock(user) }); err != nil {
			return err
		}
	}
	for {
		if err := k.sql(ctx); err != nil {
			return fmt.Errorf("end its dump thread: %w", err)
		}
		if !db.Dumping(user) {
			return nil
		}
		db.KillDump(user)
		if k.s.w.cfg.Mutation == KillWithoutLock {
			return nil
		}
	}
}

func (k *keeperHost) UnlockReplica(ctx context.Context, user string) error {
	return k.set(ctx, func() { k.s.host.server.db.Unlock(user) })
}

func (k *keeperHost) Silence(ctx context.Context) error {
	step, end, err := k.take(ctx)
	if err != nil {
		return err
	}
	defer end()
	return k.s.silent(step)
}
