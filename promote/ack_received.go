// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"errors"
	"fmt"

	"highwater/mysqlcheck"
)

// errNotThere says that a replica cannot say yet what it had received.
var errNotThere = errors.New("the replica does not follow, or lags")

// AcknowledgeReceived makes this server, which acknowledges to src, do so also of
// what it had received before: nothing else does on MariaDB once two groups of
// commits wait, since no third one gets into the source's log (10.11.19). On MySQL
// any new commit does, and this does nothing.
//
// Whoever asks a MariaDB source for its log by file and offset, and not by GTID, has
// by that acknowledged what is before it. So all that was received is applied, the
// receiver asks once by offset, and then by GTID as ever. If it ends in between,
// [Server.Follow] sees to the rest.
func (s *Server) AcknowledgeReceived(ctx context.Context, src Source) error {
	ctx, c, end, err := s.start(ctx, "acknowledge what was received", rankPrepare)
	if err != nil {
		return err
	}
	defer end()
	if c.version.Flavor != mysqlcheck.MariaDB {
		return nil
	}
	if err := c.acknowledgeReceived(ctx, src); err != nil {
		return fmt.Errorf("acknowledge what was received: %w", err)
	}
	return nil
}

func (c *session) acknowledgeReceived(ctx context.Context, src Source) error {
	if err := c.server.mayFollow(src); err != nil {
		return err
	}
	ch, err := c.channel(ctx)
	if err != nil {
		return err
	}
	acknowledges, err := c.acknowledges(ctx)
	if err != nil {
		return err
	}
	if !acknowledges || !c.leads(ch, src) || !ch.applierRunning {
		return errNotThere
	}
	if err := c.applyReceived(ctx); err != nil {
		return err
	}
	if err := c.ask(ctx, src, mysqlcheck.StmtByOffset); err != nil {
		return err
	}
	if err := sleep(ctx, askPause); err != nil {
		return err
	}
	if err := c.applyReceived(ctx); err != nil {
		return err
	}
	return c.ask(ctx, src, mysqlcheck.StmtByGTID)
}

// askPause leaves a source the time to read what it was asked for.
const askPause = 10 * pollMin

// applyReceived stops the receiver and has everything applied. The source's file and
// offset then say where it stands.
func (c *session) applyReceived(ctx context.Context) error {
	if ok, err := c.pause(ctx); err != nil || !ok {
		return errors.Join(err, errNotThere)
	}
	p, _, err := c.position(ctx)
	if err != nil {
		return err
	}
	if err := c.awaitExecuted(ctx, p.Received, false); err != nil {
		return err
	}
	return c.awaitOffset(ctx)
}

// awaitOffset waits until a stopped receiver's relay log is applied up to its end, by
// the source's file and offset.
func (c *session) awaitOffset(ctx context.Context) error {
	for {
		ch, err := c.channel(ctx)
		switch {
		case err != nil:
			return err
		case ch == nil, ch.row["Relay_Master_Log_File"] == "", !ch.applierRunning:
			return errNotThere
		case ch.row["Relay_Master_Log_File"] == ch.row["Master_Log_File"] && ch.row["Exec_Master_Log_Pos"] == ch.row["Read_Master_Log_Pos"]:
			return nil
		}
		if err := sleep(ctx, pollMin); err != nil {
			return err
		}
	}
}

// knowsReceived makes sure that what this server says it has received is all of it:
// while a MariaDB receiver asks by offset the server does not keep a GTID of what is
// not applied yet.
func (c *session) knowsReceived(ctx context.Context) error {
	if c.version.Flavor != mysqlcheck.MariaDB {
		return nil
	}
	ch, err := c.channel(ctx)
	if err != nil || ch == nil || ch.autoPosition || ch.row["Relay_Master_Log_File"] == "" {
		return err
	}
	return c.awaitOffset(ctx)
}

// ask has the receiver ask for the log in another way.
func (c *session) ask(ctx context.Context, src Source, how mysqlcheck.Statement) error {
	for _, statement := range []mysqlcheck.Statement{mysqlcheck.StmtStopReplica, how} {
		if err := c.exec(ctx, statement); err != nil {
			return err
		}
	}
	_, err := c.startFollowing(ctx, src, mysqlcheck.StmtStartReplica)
	return err
}
