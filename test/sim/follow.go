// SPDX-License-Identifier: Apache-2.0

package sim

import "errors"

// silent makes sure that the server does not acknowledge, as promote.Silence does.
func (s *supervisor) silent(step func() error) error {
	db := s.host.server.db
	if err := step(); err != nil || !db.WillAcknowledge() && !db.Acknowledges() {
		return err
	}
	if err := step(); err != nil {
		return err
	}
	db.StopReceiver()
	if err := step(); err != nil {
		return err
	}
	db.SetAcknowledge(false)
	return nil
}

var (
	errPromised = errors.New("sealed for a later term")
	errWritable = errors.New("the server is not read-only")
)

// acknowledging is what a server that follows is to do.
type acknowledging uint8

const (
	acksAsSet  acknowledging = iota // what it was told before
	acksAlways                      // a member of S
)

// followLossless is promote.Follow, and FollowAcknowledging.
func (s *supervisor) followLossless(step func() error, primary string, term uint64, acks acknowledging) error {
	srv := &s.host.server
	source := s.w.host(primary)
	promised := func() error {
		if err := step(); err != nil {
			return err
		}
		if term < s.host.promised && s.w.cfg.Mutation != ForgottenPromise {
			return errPromised
		}
		return nil
	}
	if err := promised(); err != nil {
		return err
	}
	if !srv.readOnly() {
		return errWritable
	}
	known, heard := s.heard[primary]
	if !heard || known.node == nil || known.node.ServerStartID == "" {
		return errors.New("nothing was heard of its server")
	}
	if g := s.beyond(srv.executed(), known); !g.empty() {
		return errantError{g}
	}
	if !srv.received().Contains(source.server.db.Purged()) {
		return errors.New("the source has purged what this server lacks")
	}
	s.host.joined, s.host.joinedTo = term, primary
	if srv.source() == source && srv.receiving() && (acks == acksAsSet || srv.db.Acknowledges()) {
		return nil
	}
	keep := srv.source() == source
	srv.db.StopReceiver()
	if !keep { // to set another source deletes what was not applied
		if err := promised(); err != nil {
			return err
		}
		srv.db.ApplyAll()
		if g := s.beyond(srv.executed(), known); !g.empty() {
			return errantError{g}
		}
	}
	if err := promised(); err != nil {
		return err
	}
	if srv.db.SourceState().Waiting > 0 {
		return errors.New("commits wait for an acknowledgement")
	}
	srv.db.DisableSource()
	if acks == acksAlways {
		srv.db.SetAcknowledge(true)
	}
	if err := promised(); err != nil {
		return err
	}
	srv.follow(source)
	srv.rebuilt = false
	s.w.tracef(s.host, "follows %s, acknowledging %v", source.name, srv.db.WillAcknowledge())
	return nil
}

// errantError is transactions that a source has not.
type errantError struct{ gap }

func (e errantError) Error() string { return "errant transactions: " + e.set().String() }
