// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"fmt"
)

// StopAcknowledging makes sure that this server acknowledges nothing any more:
// the receiver is stopped, and then semi-sync switched off for its next start.
// When it returns nil a supervisor may say "receiver stopped, semi-sync off".
//
// The order matters: rpl_semi_sync_replica_enabled is read when the receiver
// starts. Switched off below a running one it changes nothing: that goes on to
// acknowledge (measured on both flavours).
func (s *Server) StopAcknowledging(ctx context.Context) error {
	ctx, c, end, err := s.start(ctx, "stop acknowledging", rankPromote)
	if err != nil {
		return err
	}
	defer end()
	if err := c.stopAcknowledging(ctx); err != nil {
		return fmt.Errorf("stop acknowledging: %w", err)
	}
	return nil
}

func (c *session) stopAcknowledging(ctx context.Context) error {
	if err := c.rememberBoot(ctx); err != nil {
		return err
	}
	if err := c.stopReceiver(ctx); err != nil {
		return err
	}
	h, err := c.replicaHalf(ctx)
	if err != nil {
		return err
	}
	return c.setReplicaHalf(ctx, h, false)
}

// Acknowledging reports whether the receiver of this server acknowledges what
// it receives, on the server's own word: the status, and not the setting.
func (s *Server) Acknowledging(ctx context.Context) (bool, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return false, fmt.Errorf("read semi-sync: %w", err)
	}
	defer c.close()
	acks, err := c.acknowledges(ctx)
	if err != nil {
		return false, fmt.Errorf("read semi-sync: %w", err)
	}
	return acks, nil
}

func (c *session) acknowledges(ctx context.Context) (bool, error) {
	status, err := c.semiSyncStatus(ctx)
	return status["replica_status"] == "ON", err
}

// FollowAcknowledging is [Server.Follow] for a member of S: its receiver
// acknowledges. One that follows already and does not is started again; the
// relay log stays, and the applier runs on.
func (s *Server) FollowAcknowledging(ctx context.Context, src Source) (FollowResult, error) {
	src.SemiSync = true
	return s.follow(ctx, src, acksAlways)
}

// FollowSilently is [Server.Follow] for a replica that is not in S: its receiver
// does not acknowledge. One that does is stopped first, also if it is not to
// follow src then.
func (s *Server) FollowSilently(ctx context.Context, src Source) (FollowResult, error) {
	src.SemiSync = false
	return s.follow(ctx, src, acksNever)
}

// acknowledging is what a server that follows is to do.
type acknowledging uint8

const (
	acksAsSet  acknowledging = iota // what rpl_semi_sync_replica_enabled says
	acksAlways                      // a member of S
	acksNever                       // not in S
)

// replicaHalf is the replica half of semi-sync on a server.
type replicaHalf struct {
	name   string // of the variable that switches it; "" if it is not loaded
	set    bool   // the receiver will acknowledge once it is started
	source bool   // the source half is on: the applier's commits wait
}

// replicaHalf reads the settings of the replica half.
func (c *session) replicaHalf(ctx context.Context) (replicaHalf, error) {
	names, values, err := c.semiSyncSettings(ctx)
	return replicaHalf{
		name:   names.ReplicaEnabled,
		set:    values[names.ReplicaEnabled] == "ON",
		source: values[names.SourceEnabled] == "ON",
	}, err
}

// setReplicaHalf says whether the receiver acknowledges once it is started, if
// that is not so already, and reads it back.
func (c *session) setReplicaHalf(ctx context.Context, h replicaHalf, on bool) error {
	if h.name == "" || h.set == on {
		return nil
	}
	want := 0
	if on {
		want = 1
	}
	if err := c.execText(ctx, "semi_sync", "SET GLOBAL "+h.name+" = ?", want); err != nil {
		return err
	}
	var is int
	if err := c.conn.QueryRowContext(ctx, "SELECT @@global."+h.name).Scan(&is); err != nil {
		return fmt.Errorf("read %s: %w", h.name, err)
	}
	if is != want {
		return fmt.Errorf("%s is %d", h.name, is)
	}
	return nil
}

// prepareReplica makes sure that nothing is acknowledged that must not be, and
// that what must be can be. It returns whether a receiver that runs is as acks and
// src want it.
func (c *session) prepareReplica(ctx context.Context, src Source, acks acknowledging) (h replicaHalf, serves bool, err error) {
	h, err = c.replicaHalf(ctx)
	switch {
	case err != nil:
		return h, false, err
	case acks == acksAsSet:
		return h, !h.source && (h.set || !src.SemiSync || h.name == ""), nil
	case acks == acksAlways && h.name == "":
		return h, false, ErrNoSemiSync
	case acks == acksAlways && !h.set:
		return h, false, c.rememberBoot(ctx)
	}
	acknowledges, err := c.acknowledges(ctx)
	if err != nil || acks == acksAlways {
		return h, !h.source && acknowledges, err
	}
	if h.set || acknowledges {
		err = c.stopAcknowledging(ctx)
		h.set = false
	}
	return h, !h.source, err
}
