// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"fmt"
)

// DisableSource lets commits end without an acknowledgement, those too that wait
// for one. It belongs after the decision that the primary goes on alone is
// committed, and nowhere else (docs/design.md §5).
func (s *Server) DisableSource(ctx context.Context) error {
	c, err := s.connect(ctx)
	if err != nil {
		return fmt.Errorf("disable semi-sync: %w", err)
	}
	defer c.close()
	if err := c.disableSource(ctx); err != nil {
		return fmt.Errorf("disable semi-sync: %w", err)
	}
	return nil
}

func (c *session) disableSource(ctx context.Context) error {
	if err := c.reap(ctx); err != nil {
		return err
	}
	names, values, err := c.semiSyncSettings(ctx)
	if err != nil {
		return err
	}
	if err := c.set(ctx, values, setting{names.SourceEnabled, "OFF"}); err != nil {
		return err
	}
	after, err := c.sourceState(ctx)
	if err != nil {
		return err
	}
	if after.Enabled {
		return fmt.Errorf("server did not take the settings: %+v", after)
	}
	return nil
}

// Silence makes sure that this server does not acknowledge, now or when its
// receiver starts again, and disturbs nothing where that is so already. When it
// returns nil a supervisor may say "receiver stopped, semi-sync off"
// (election.Word): a receiver that runs then was started with semi-sync off.
func (s *Server) Silence(ctx context.Context) error {
	ctx, c, end, err := s.start(ctx, "be silent", rankPrepare)
	if err != nil {
		return err
	}
	defer end()
	if _, _, err := c.prepareReplica(ctx, Source{}, acksNever); err != nil {
		return fmt.Errorf("be silent: %w", err)
	}
	return nil
}
