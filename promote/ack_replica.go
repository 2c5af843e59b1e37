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
	if _, err := c.rememberBoot(ctx); err != nil {
		return err
	}
	if err := c.stopReceiver(ctx); err != nil {
		return err
	}
	names, values, err := c.semiSyncSettings(ctx)
	if err != nil {
		return err
	}
	if err := c.set(ctx, values, setting{names.ReplicaEnabled, "OFF"}); err != nil {
		return err
	}
	if _, values, err = c.semiSyncSettings(ctx); err != nil {
		return err
	}
	if names.ReplicaEnabled != "" && values[names.ReplicaEnabled] != "OFF" {
		return fmt.Errorf("%s is %s", names.ReplicaEnabled, values[names.ReplicaEnabled])
	}
	return nil
}

// Acknowledging reports whether the receiver of this server acknowledges what
// it receives, on the server's own word: the status, and not the setting.
func (s *Server) Acknowledging(ctx context.Context) (bool, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return false, fmt.Errorf("read semi-sync: %w", err)
	}
	defer c.close()
	status, err := c.semiSyncStatus(ctx)
	if err != nil {
		return false, fmt.Errorf("read semi-sync: %w", err)
	}
	return status["replica_status"] == "ON", nil
}

// FollowAcknowledging is [Server.Follow] for a member of S: its receiver
// acknowledges. One that follows already and does not is started again.
func (s *Server) FollowAcknowledging(ctx context.Context, src Source) (FollowResult, error) {
	src.SemiSync = true
	if err := s.prepareAcknowledging(ctx); err != nil {
		return FollowResult{}, fmt.Errorf("follow %s: %w", src.Node, err)
	}
	return s.Follow(ctx, src)
}

// prepareAcknowledging stops a receiver that would go on without
// acknowledging, though it is told to.
func (s *Server) prepareAcknowledging(ctx context.Context) error {
	ctx, c, end, err := s.start(ctx, "acknowledge", rankPrepare)
	if err != nil {
		return err
	}
	defer end()
	names, values, err := c.semiSyncSettings(ctx)
	if err != nil {
		return err
	}
	if names.ReplicaEnabled == "" {
		return ErrNoSemiSync
	}
	if _, err := c.rememberBoot(ctx); err != nil {
		return err
	}
	status, err := c.semiSyncStatus(ctx)
	if err != nil || values[names.ReplicaEnabled] != "ON" || status["replica_status"] == "ON" {
		return err // Follow sees to it
	}
	return c.stopReceiver(ctx)
}

// FollowSilently is [Server.Follow] for a replica that is not in S: its receiver
// does not acknowledge. One that does is stopped first.
func (s *Server) FollowSilently(ctx context.Context, src Source) (FollowResult, error) {
	src.SemiSync = false
	if err := s.prepareSilence(ctx); err != nil {
		return FollowResult{}, fmt.Errorf("follow %s: %w", src.Node, err)
	}
	return s.Follow(ctx, src)
}

func (s *Server) prepareSilence(ctx context.Context) error {
	ctx, c, end, err := s.start(ctx, "stop acknowledging", rankPrepare)
	if err != nil {
		return err
	}
	defer end()
	names, values, err := c.semiSyncSettings(ctx)
	if err != nil {
		return err
	}
	status, err := c.semiSyncStatus(ctx)
	if err != nil || values[names.ReplicaEnabled] != "ON" && status["replica_status"] != "ON" {
		return err
	}
	return c.stopAcknowledging(ctx)
}
